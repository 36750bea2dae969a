// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// The script of the approval page. The token is in the fragment of the address. It
// is taken out of there at once, so that it stays in no history, and is sent in the
// body of two requests: what does it decide, and, once a person has confirmed, decide.
"use strict";

const element = (id) => document.getElementById(id);

function say(text) {
  element("message").textContent = text;
}

// post resolves to the answer, or throws what the server says against it.
async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    credentials: "same-origin",
    cache: "no-store",
    redirect: "error",
  });
  let answer;
  try {
    answer = await response.json();
  } catch {
    throw new Error(`the server answered ${response.status} and no JSON`);
  }
  if (!response.ok) {
    throw new Error(answer.message || `the server answered ${response.status}`);
  }
  return answer;
}

// fact adds a line. Whatever a cluster's objects say is text and never markup.
function fact(name, value) {
  if (!value) {
    return;
  }
  const term = document.createElement("dt");
  term.textContent = name;
  const description = document.createElement("dd");
  description.textContent = value;
  element("facts").append(term, description);
}

function show(review) {
  const verb = review.decision === "Deny" ? "Deny" : "Approve";
  document.title = `srenix: ${verb.toLowerCase()} ${review.proposal}`;
  element("title").textContent = `${verb} ${review.proposal}?`;
  fact("Action", review.actionKind);
  fact("On", `${review.target.kind} ${review.target.namespace ? review.target.namespace + "/" : ""}${review.target.name}`);
  fact("Why", review.rationale);
  fact("In the name of", review.approver);
  fact("Reason given", review.reason);
  fact("Cluster", review.cluster);
  fact("Link valid until", new Date(review.expires).toLocaleString());
  fact("Digest", review.digest);
  if (review.patch) {
    element("patch").textContent = JSON.stringify(review.patch, null, 2);
    element("change").hidden = false;
  }
  const button = element("confirm");
  button.textContent = verb;
  if (review.refusal) {
    element("refusal").textContent = review.refusal;
    element("refusal").hidden = false;
    button.hidden = true;
    say("The policy refuses this now.");
  } else {
    say("Nothing is done before you confirm.");
  }
  element("review").hidden = false;
  return button;
}

async function main() {
  const given = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
  const request = { token: given.get("token") || "", reason: given.get("reason") || "" };
  if (!request.token) {
    say("The address has no token: open the whole link, as kubectl create approval --link printed it.");
    return;
  }
  say("Asking what the link decides…");
  let review;
  try {
    review = await post("approve/review", request);
  } catch (error) {
    say(`Nothing can be decided: ${error.message}`);
    return;
  }
  const button = show(review);
  button.addEventListener("click", async () => {
    button.disabled = true;
    say("Deciding…");
    try {
      const decided = await post("approve/decide", request);
      button.hidden = true;
      say(`Decided. See what becomes of it: kubectl get approval/${decided.approval} -n ${decided.namespace}`);
    } catch (error) {
      say(`Not decided: ${error.message}`);
      button.disabled = false;
    }
  });
}

// Another link that is opened in the same tab changes nothing but the fragment, and
// what is shown would be that of the first.
addEventListener("hashchange", () => location.reload());
main();
