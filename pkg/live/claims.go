// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import "cmp"

// claims says which subject of which rule owns each object of a derived
// collection: of all that want to write it the least, by the names of rule and subject,
// so that it does not matter who came first. Guarded by collection.writing.
type claims struct {
	owners map[Key]*node
	// contenders want to write what another owns, with what they would write.
	contenders map[Key]map[*node]Object
}

// before tells whether what a subject writes goes before what another does.
func (n *node) before(other *node) bool {
	return cmp.Or(cmp.Compare(n.rule.Name, other.rule.Name), byName(n.subject, other.subject)) < 0
}

// put writes an object for a subject. If another subject owns the key, and goes before
// it, the object is kept aside until that one goes, and the owner is returned.
func (c *collection) put(n *node, key Key, object Object) (owner *node) {
	c.writing.Lock()
	defer c.writing.Unlock()
	owner = c.claims.owners[key]
	switch {
	case owner == nil || owner == n:
	case owner.before(n):
		c.claims.contend(n, key, object)
		return owner
	default:
		written, _ := c.get(key)
		c.claims.contend(owner, key, written)
		c.tellContenders(key)
	}
	c.claims.own(n, key)
	c.write(key, object)
	return nil
}

// release gives up what a subject wrote or wanted to write. The least contender takes
// over.
func (c *collection) release(n *node, key Key) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.claims.owners[key] != n {
		c.claims.withdraw(n, key)
		return
	}
	waiting := c.claims.contenders[key]
	if len(waiting) == 0 {
		delete(c.claims.owners, key)
		c.write(key, nil)
		return
	}
	c.tellContenders(key)
	var next *node
	for contender := range waiting {
		if next == nil || contender.before(next) {
			next = contender
		}
	}
	object := waiting[next]
	c.claims.withdraw(next, key)
	c.claims.own(next, key)
	c.write(key, object)
}

// tellContenders evaluates all contenders again once the owner is another, so that
// their statuses name it, or name none any more.
func (c *collection) tellContenders(key Key) {
	for contender := range c.claims.contenders[key] {
		c.engine.enqueue(contender.task)
	}
}

func (cl *claims) own(n *node, key Key) {
	if cl.owners == nil {
		cl.owners = map[Key]*node{}
	}
	cl.owners[key] = n
}

func (cl *claims) contend(n *node, key Key, object Object) {
	if cl.contenders == nil {
		cl.contenders = map[Key]map[*node]Object{}
	}
	if cl.contenders[key] == nil {
		cl.contenders[key] = map[*node]Object{}
	}
	cl.contenders[key][n] = object
}

func (cl *claims) withdraw(n *node, key Key) {
	delete(cl.contenders[key], n)
	if len(cl.contenders[key]) == 0 {
		delete(cl.contenders, key)
	}
}
