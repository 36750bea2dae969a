// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
)

// Clean redacts a text and cuts out passages that read like instructions.
func (r *Redactor) Clean(text string) string {
	return r.Redact(neutralize(r.Redact(text)))
}

// Fence marks a text as data: each line behind a bar, between two lines that nobody who
// writes such a text can foretell. Label says what it is, as "log". The text must be
// clean already, and what is made of it must have no line breaks but newlines.
func (r *Redactor) Fence(label, text string) string {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(label + "\x00" + text))
	fence := hex.EncodeToString(mac.Sum(nil))[:digits]
	return "data " + fence + " begins (" + label + ")\n| " + strings.ReplaceAll(text, "\n", "\n| ") + "\ndata " + fence + " ends\n"
}

// instructions are what people write to a model and programs do not write to a log, in
// the languages that such texts are seen in. The list will never be complete, so
// nothing may rest on it: whoever lets a model choose asks again without the text.
var instructions = regexp.MustCompile(`(?i)(?:` + strings.Join([]string{
	// To disregard what was said.
	`(?:ignore|disregard|forget|override|bypass)\W+(?:\w+\W+){0,4}(?:instructions?|prompts?|rules?|guidelines|directions|context|whitelist|above)`,
	`(?:new|updated|real|actual|additional)\s+(?:instructions?|task|system\s+prompt|rules?)\b`,
	`(?:ignoriere|vergiss|missachte)\W+(?:\w+\W+){0,4}(?:anweisung\w*|regeln|befehle)`,
	`(?:ignore[zr]?|oublie[zr]?)\W+(?:\w+\W+){0,4}(?:instructions|consignes|r[eè]gles)`,
	`(?:ignora|olvida|ignore|esqueça|dimentica)\W+(?:\w+\W+){0,4}(?:instrucciones|instruções|istruzioni|reglas|regras|regole)`,
	`игнорируй\S*|забудь\S*|проигнорируй\S*`,
	`忽略|无视|無視|忘记|忘れて|무시하|تجاهل|अनदेखा|yoksay|zignoruj|negeer|bỏ qua|abaikan`,
	// To be somebody else.
	`you\s+are\s+(?:now|no\s+longer|an?\s+\w+\s+(?:model|assistant))|act\s+as\s+(?:an?|the|if)|pretend\s+(?:to|that|you)|du\s+bist\s+(?:jetzt|nun)|ты\s+теперь|你现在是`,
	`(?:as|dear|hey|hello|attention|note\s+to)\W+(?:an?\s+|the\s+)?(?:ai|llm|model|assistant|language\s+model|chatgpt|gpt|claude|copilot)\b`,
	// The marks of dialogs and of their templates.
	`<\|[^|\n]*\|>|<<\s*/?sys\s*>>|\[\s*/?\s*inst\s*\]|</?(?:system|assistant|user|human|instructions?|prompt|tool\w*|function\w*)\s*>`,
	`(?:^|\n)[ \t#*>|]*(?:system|assistant|human|developer)\s*(?:prompt|message|note)?\s*:`,
	`system\s+(?:prompt|override|message|notice)`,
	// To answer in some way.
	`(?:respond|reply|answer)\s+(?:only\s+)?(?:with|by|in|as|using)|(?:always|must|should|please|now)\s+(?:choose|select|pick|output|return|answer|reply|respond|print|say)`,
	`(?:choose|select|pick|prefer)\W+(?:the\s+)?[a-z]+-[a-z-]+`,
	`(?:choose|select|pick|output|return)\s+(?:the\s+)?(?:fixer|fix|option|action|name|following|json)`,
	`["']?(?:fixer|choice|answer|action|fix)\\*["']?\s*[:=]\s*\\*["']`,
	`(?:antworte|wähle|réponds|répondez|choisis|choisissez|responde|elige|escolha|rispondi|scegli|ответь|выбери|选择|回答|選択|選んで|선택)\S*`,
}, `|`) + `)`)

// passageEnd is how far a passage goes: to the end of its sentence or line.
var passageEnd = regexp.MustCompile(`[.!?。！？](?:[\s"')\]]|$)|\n`)

// neutralize cuts out what reads like an instruction, up to the end of its sentence.
func neutralize(text string) string {
	var out strings.Builder
	for {
		match := instructions.FindStringIndex(text)
		if match == nil {
			break
		}
		out.WriteString(text[:match[0]])
		if text[match[0]] == '\n' {
			out.WriteByte('\n')
		}
		out.WriteString(maskInstruction)
		text = text[match[1]:]
		end := passageEnd.FindStringIndex(text)
		if end == nil {
			text = ""
			break
		}
		text = text[end[0]:]
	}
	return out.String() + text
}
