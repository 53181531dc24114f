package authz

import (
	"encoding/binary"
	"math"
)

// The index of a list finds the first match at a cost that depends on the resource's segments, not on the number of
// permissions. It is a trie over pattern segments. Each node knows the lowest ordinal below it, so that a branch which
// can't win any more is cut; a wildcard in the middle is a second branch, so a request visits at most 2^segments nodes,
// and never more than the agent's own list has. Layout, in 32-bit words behind the list's entries (unaligned):
//
//	nodes, edges, actions     counts; the two tables have a power of two of slots
//	node x nodes              lowest, star, exact, open, textAt, textLen
//	edge x edges              hash, parent, child       (child 0: free; the root is nobody's child)
//	action x actions          hash, node<<1|open, 1+ordinal, textAt   (1+ordinal 0: free)
//
// "open" patterns end in a wildcard at that node, "exact" ones end with its segment. exact and open hold the lowest
// ordinal with the action "*"; other actions are in the action table. textAt points into the entries.
type index struct {
	l       list
	nodes   int // offset of the first node
	edges   int
	edgeMsk uint32
	acts    int
	actMsk  uint32
}

const (
	nodeWords, edgeWords, actionWords = 6, 3, 4

	nodeLowest, nodeStar, nodeExact, nodeOpen, nodeText, nodeLen = 0, 4, 8, 12, 16, 20

	// The two high bits of nodeLen: whether the action table has anything for this node.
	exactActions, openActions = 1 << 31, 1 << 30

	none = math.MaxUint32
)

func (l list) index(at int) index {
	nodes, edges, acts := l.u32(at), l.u32(at+4), l.u32(at+8)
	x := index{l: l, nodes: at + 12, edgeMsk: edges - 1, actMsk: acts - 1}
	x.edges = x.nodes + 4*nodeWords*int(nodes)
	x.acts = x.edges + 4*edgeWords*int(edges)
	return x
}

func (x *index) node(n uint32) int { return x.nodes + 4*nodeWords*int(n) }

func edgeHash(parent, segment uint32) uint32      { return mix(parent*0x9e3779b1 ^ segment) }
func actionHash(node, open, action uint32) uint32 { return mix((node<<1|open)*0x9e3779b1 ^ action) }

// child follows the edge of a literal segment; 0 if there is none.
func (x *index) child(parent uint32, segment string) uint32 {
	h := edgeHash(parent, hashText(segment))
	for i := h; ; i++ {
		slot := x.edges + 4*edgeWords*int(i&x.edgeMsk)
		child := x.l.u32(slot + 8)
		if child == 0 {
			return 0
		}
		if x.l.u32(slot) == h && x.l.u32(slot+4) == parent {
			n := x.node(child)
			at, size := int(x.l.u32(n+nodeText)), int(x.l.u32(n+nodeLen)&^(exactActions|openActions))
			if string(x.l[at:at+size]) == segment {
				return child
			}
		}
	}
}

// action returns the lowest ordinal that names this action at a node, none if there is none.
func (x *index) action(node, open uint32, action string, hash uint32) uint32 {
	h := actionHash(node, open, hash)
	for i := h; ; i++ {
		slot := x.acts + 4*actionWords*int(i&x.actMsk)
		ordinal := x.l.u32(slot + 8)
		if ordinal == 0 {
			return none
		}
		if x.l.u32(slot) == h && x.l.u32(slot+4) == node<<1|open {
			c := cursor{s: string(x.l), i: int(x.l.u32(slot + 12))}
			if c.text() == action {
				return ordinal - 1
			}
		}
	}
}

// walk is one search. With inclusion set it looks for patterns that cover a pattern, else for those that cover a
// resource; the two differ only in what a last segment "*" means.
type walk struct {
	index
	action    string
	hash      uint32
	best      uint32
	inclusion bool
}

// first returns the ordinal of the first permission that matches the call, -1 if none does.
func (x index) first(action, resource string) int {
	w := walk{index: x, action: action, hash: hashText(action), best: none}
	w.visit(0, resource, true)
	return int(int32(w.best)) // none is -1
}

// covering returns the ordinal of the first permission that covers the pattern and the action, itself perhaps "*".
func (x index) covering(action, pattern string) int {
	w := walk{index: x, action: action, hash: hashText(action), best: none, inclusion: true}
	w.visit(0, widest(pattern), true)
	return int(int32(w.best))
}

// visit judges a node and what lies below. more tells whether segments are left, rest holds them. Its depth is bounded
// by the longest pattern of the list.
func (w *walk) visit(node uint32, rest string, more bool) {
	at := w.node(node)
	if w.l.u32(at+nodeLowest) >= w.best {
		return
	}
	flags := w.l.u32(at + nodeLen)
	w.best = min(w.best, w.l.u32(at+nodeOpen))
	if flags&openActions != 0 {
		w.best = min(w.best, w.index.action(node, 1, w.action, w.hash))
	}
	if !more {
		w.best = min(w.best, w.l.u32(at+nodeExact))
		if flags&exactActions != 0 {
			w.best = min(w.best, w.index.action(node, 0, w.action, w.hash))
		}
		return
	}
	segment, rest, more := cut(rest)
	if w.inclusion && segment == wildcard && !more {
		return // only an open pattern covers an open one
	}
	if segment != wildcard { // no edge has it; it can be a segment of a resource
		if child := w.child(node, segment); child != 0 {
			w.visit(child, rest, more)
		}
	}
	if star := w.l.u32(at + nodeStar); star != 0 {
		w.visit(star, rest, more)
	}
}

// builder makes an index. What it writes depends on the list alone: equal lists make equal bytes.
type builder struct {
	l     list
	nodes []builtNode
	acts  []builtAction
	// The maps are for finding, never for iterating.
	edgeOf map[edgeKey]uint32
	actOf  map[actionKey]struct{}
}

type builtNode struct {
	lowest, star, exact, open, text, size uint32
	parent                                uint32
	literal                               bool // reached by an edge, not by a star
}

type builtAction struct {
	actionKey
	ordinal, text uint32
}

type edgeKey struct {
	parent  uint32
	segment string
}

type actionKey struct {
	node, open uint32
	action     string
}

// appendIndex appends the index of l to b, which ends with l.
func appendIndex(b []byte, l list) []byte {
	n := l.len()
	x := builder{l: l, edgeOf: make(map[edgeKey]uint32, 2*n), actOf: make(map[actionKey]struct{}, n)}
	x.addNode(builtNode{})
	for i := range n {
		x.insert(uint32(i))
	}
	return x.append(b)
}

func (x *builder) addNode(n builtNode) uint32 {
	n.lowest, n.exact, n.open = none, none, none
	x.nodes = append(x.nodes, n)
	return uint32(len(x.nodes) - 1)
}

// insert adds the i-th permission. Ordinals come in rising order, so what is there already is lower.
func (x *builder) insert(i uint32) {
	e := x.l.entry(int(i))
	at := e.rest.i - len(e.resource) // where the resource's text begins
	node, open, rest, more := uint32(0), uint32(0), e.resource, true
	x.nodes[0].lowest = min(x.nodes[0].lowest, i)
	for more {
		var segment string
		start := at + len(e.resource) - len(rest)
		segment, rest, more = cut(rest)
		if segment == wildcard && !more {
			open = 1
			break
		}
		node = x.step(node, segment, uint32(start))
		x.nodes[node].lowest = min(x.nodes[node].lowest, i)
	}
	c := e.rest
	for range e.actions {
		text := uint32(c.i)
		x.grant(builtAction{actionKey: actionKey{node: node, open: open, action: c.text()}, ordinal: i, text: text})
	}
}

func (x *builder) step(node uint32, segment string, text uint32) uint32 {
	if segment == wildcard {
		if x.nodes[node].star == 0 {
			star := x.addNode(builtNode{})
			x.nodes[node].star = star
		}
		return x.nodes[node].star
	}
	key := edgeKey{parent: node, segment: segment}
	child, ok := x.edgeOf[key]
	if !ok {
		child = x.addNode(builtNode{text: text, size: uint32(len(segment)), parent: node, literal: true})
		x.edgeOf[key] = child
	}
	return child
}

func (x *builder) grant(a builtAction) {
	n := &x.nodes[a.node]
	switch {
	case a.action == wildcard && a.open == 1:
		n.open = min(n.open, a.ordinal)
		return
	case a.action == wildcard:
		n.exact = min(n.exact, a.ordinal)
		return
	case a.open == 1:
		n.size |= openActions
	default:
		n.size |= exactActions
	}
	if _, ok := x.actOf[a.actionKey]; !ok {
		x.actOf[a.actionKey] = struct{}{}
		x.acts = append(x.acts, a)
	}
}

// tableSize is a power of two with at least a third of the slots free.
func tableSize(n int) int {
	size := 2
	for 2*size < 3*n+1 {
		size *= 2
	}
	return size
}

func (x *builder) append(b []byte) []byte {
	edges, acts := tableSize(len(x.edgeOf)), tableSize(len(x.acts))
	b = appendWords(b, uint32(len(x.nodes)), uint32(edges), uint32(acts))
	for _, n := range x.nodes {
		b = appendWords(b, n.lowest, n.star, n.exact, n.open, n.text, n.size)
	}
	for _, slot := range x.edgeTable(edges) {
		b = appendWords(b, slot[:]...)
	}
	for _, slot := range x.actionTable(acts) {
		b = appendWords(b, slot[:]...)
	}
	return b
}

func appendWords(b []byte, words ...uint32) []byte {
	for _, word := range words {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

func (x *builder) edgeTable(size int) [][edgeWords]uint32 {
	table, mask := make([][edgeWords]uint32, size), uint32(size-1)
	for child, n := range x.nodes {
		if !n.literal {
			continue
		}
		segment := x.l[n.text : n.text+n.size&^(exactActions|openActions)]
		h := edgeHash(n.parent, hashText(string(segment)))
		i := h & mask
		for table[i][2] != 0 {
			i = (i + 1) & mask
		}
		table[i] = [edgeWords]uint32{h, n.parent, uint32(child)}
	}
	return table
}

func (x *builder) actionTable(size int) [][actionWords]uint32 {
	table, mask := make([][actionWords]uint32, size), uint32(size-1)
	for _, a := range x.acts {
		h := actionHash(a.node, a.open, hashText(a.action))
		i := h & mask
		for table[i][2] != 0 {
			i = (i + 1) & mask
		}
		table[i] = [actionWords]uint32{h, a.node<<1 | a.open, a.ordinal + 1, a.text}
	}
	return table
}
