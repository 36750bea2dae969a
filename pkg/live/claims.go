// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

// claims says which subject of which rule owns each object of a derived
// collection. Guarded by collection.writing.
type claims struct {
	owners map[Key]*node
	// contenders want to write what another owns, in order of arrival.
	contenders map[Key][]contender
}

type contender struct {
	node   *node
	object Object
}

// put writes an object for a subject. If another subject owns the key, the object
// is kept aside until that one goes, and the owner is returned.
func (c *collection) put(n *node, key Key, object Object) (owner *node) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if owner := c.claims.owners[key]; owner != nil && owner != n {
		c.claims.contend(n, key, object)
		return owner
	}
	if c.claims.owners == nil {
		c.claims.owners = map[Key]*node{}
	}
	c.claims.owners[key] = n
	c.write(key, object)
	return nil
}

// release gives up what a subject wrote or wanted to write. The longest waiting
// contender takes over, and is evaluated again so that its status says so.
func (c *collection) release(n *node, key Key) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.claims.owners[key] != n {
		c.claims.withdraw(n, key)
		return
	}
	next, ok := c.claims.next(key)
	if !ok {
		delete(c.claims.owners, key)
		c.write(key, nil)
		return
	}
	c.claims.owners[key] = next.node
	c.write(key, next.object)
	c.engine.enqueue(next.node.task)
}

func (cl *claims) contend(n *node, key Key, object Object) {
	waiting := cl.contenders[key]
	for i := range waiting {
		if waiting[i].node == n {
			waiting[i].object = object
			return
		}
	}
	if cl.contenders == nil {
		cl.contenders = map[Key][]contender{}
	}
	cl.contenders[key] = append(waiting, contender{n, object})
}

func (cl *claims) withdraw(n *node, key Key) {
	waiting := cl.contenders[key]
	for i := range waiting {
		if waiting[i].node == n {
			cl.contenders[key] = append(waiting[:i:i], waiting[i+1:]...)
			break
		}
	}
	if len(cl.contenders[key]) == 0 {
		delete(cl.contenders, key)
	}
}

func (cl *claims) next(key Key) (contender, bool) {
	waiting := cl.contenders[key]
	if len(waiting) == 0 {
		return contender{}, false
	}
	cl.withdraw(waiting[0].node, key)
	return waiting[0], true
}
