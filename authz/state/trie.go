package state

// The shape of a trie: 4 bits of the tag a level, leaves of at most maxLeaf entries above the last level.
const (
	fanBits = 4
	fan     = 1 << fanBits
	maxLeaf = 32
	tagBits = 64
)

// node is a directory or a leaf of a persistent hash trie. Nodes of a published version never change; a transaction
// changes those it made itself (edit is its number), and copies the others first.
type node[T any] struct {
	kids    *[fan]*node[T] // a directory; nil: a leaf
	entries []entry[T]
	edit    uint64
}

type entry[T any] struct {
	tag   uint64 // evenly distributed
	value *T
}

// leaf returns the entries among which one with this tag would be. A nil node is an empty trie.
func (n *node[T]) leaf(tag uint64) []entry[T] {
	for n != nil && n.kids != nil {
		n = n.kids[tag%fan]
		tag >>= fanBits
	}
	if n == nil {
		return nil
	}
	return n.entries
}

// own returns n itself if the transaction made it, else its copy.
func (n *node[T]) own(edit uint64) *node[T] {
	if n.edit == edit {
		return n
	}
	c := &node[T]{edit: edit}
	if n.kids != nil {
		kids := *n.kids
		c.kids = &kids
		return c
	}
	c.entries = append(make([]entry[T], 0, len(n.entries)+1), n.entries...)
	return c
}

// put adds or replaces the entry of this tag for which same holds, and returns the trie's new root.
func (n *node[T]) put(edit, tag uint64, value *T, same func(*T) bool) *node[T] {
	return n.putAt(edit, tag, 0, value, same)
}

func (n *node[T]) putAt(edit, tag uint64, shift uint, value *T, same func(*T) bool) *node[T] {
	if n == nil {
		return &node[T]{edit: edit, entries: []entry[T]{{tag: tag, value: value}}}
	}
	n = n.own(edit)
	if n.kids != nil {
		i := tag >> shift % fan
		n.kids[i] = n.kids[i].putAt(edit, tag, shift+fanBits, value, same)
		return n
	}
	for i := range n.entries {
		if e := &n.entries[i]; e.tag == tag && same(e.value) {
			e.value = value
			return n
		}
	}
	n.entries = append(n.entries, entry[T]{tag: tag, value: value})
	if len(n.entries) > maxLeaf && shift < tagBits {
		n.split(shift)
	}
	return n
}

// split makes a directory of a full leaf that the transaction owns.
func (n *node[T]) split(shift uint) {
	var sizes [fan]int
	for _, e := range n.entries {
		sizes[e.tag>>shift%fan]++
	}
	n.kids = new([fan]*node[T])
	for _, e := range n.entries {
		i := e.tag >> shift % fan
		if n.kids[i] == nil {
			n.kids[i] = &node[T]{edit: n.edit, entries: make([]entry[T], 0, sizes[i])}
		}
		n.kids[i].entries = append(n.kids[i].entries, e)
	}
	n.entries = nil
}

// remove takes out the entry of this tag for which same holds, and returns the new root: nil once nothing is left.
func (n *node[T]) remove(edit, tag uint64, same func(*T) bool) *node[T] {
	return n.removeAt(edit, tag, 0, same)
}

func (n *node[T]) removeAt(edit, tag uint64, shift uint, same func(*T) bool) *node[T] {
	if n == nil {
		return nil
	}
	if n.kids != nil {
		i := tag >> shift % fan
		kid := n.kids[i].removeAt(edit, tag, shift+fanBits, same)
		if kid == n.kids[i] {
			return n
		}
		n = n.own(edit)
		n.kids[i] = kid
		if kid == nil && *n.kids == [fan]*node[T]{} {
			return nil
		}
		return n
	}
	for i := range n.entries {
		if e := n.entries[i]; e.tag != tag || !same(e.value) {
			continue
		}
		if len(n.entries) == 1 {
			return nil
		}
		n = n.own(edit)
		last := len(n.entries) - 1
		n.entries[i] = n.entries[last]
		n.entries[last] = entry[T]{}
		n.entries = n.entries[:last]
		return n
	}
	return n
}

// each calls f for every value, in no particular order, until it returns false.
func (n *node[T]) each(f func(*T) bool) bool {
	if n == nil {
		return true
	}
	if n.kids != nil {
		for _, kid := range n.kids {
			if !kid.each(f) {
				return false
			}
		}
		return true
	}
	for _, e := range n.entries {
		if !f(e.value) {
			return false
		}
	}
	return true
}
