package state

// The shape of a trie: 4 bits of the tag a level, leaves of at most maxLeaf entries above the last level.
const (
	fanBits = 4
	fan     = 1 << fanBits
	maxLeaf = 32
	tagBits = 64
)

// trie is a persistent hash trie, by value: the place of a directory or of a leaf's entries. The zero trie is empty.
// Leaves stand in their directory itself, because a lookup among a million waits for memory and little else.
//
// Entries never change once they are in a trie; directories of a published version never change either. A transaction
// changes the directories that it made itself (edit is its number), and copies the others first.
type trie[T any] struct {
	dir     *directory[T] // nil: a leaf
	entries []entry[T]
}

type directory[T any] struct {
	kids [fan]trie[T]
	edit uint64
}

type entry[T any] struct {
	tag   uint64 // evenly distributed
	value *T
}

// leaf returns the entries among which one with this tag would be.
func (t *trie[T]) leaf(tag uint64) []entry[T] {
	for t.dir != nil {
		t = &t.dir.kids[tag%fan]
		tag >>= fanBits
	}
	return t.entries
}

// kid returns the place below an inner one, in a directory that the transaction may change.
func (t *trie[T]) kid(edit, tag uint64, shift uint) *trie[T] {
	if t.dir.edit != edit {
		own := *t.dir
		own.edit = edit
		t.dir = &own
	}
	return &t.dir.kids[tag>>shift%fan]
}

// put adds or replaces the entry of this tag for which same holds.
func (t *trie[T]) put(edit, tag uint64, value *T, same func(*T) bool) {
	shift := uint(0)
	for ; t.dir != nil; shift += fanBits {
		t = t.kid(edit, tag, shift)
	}
	at := t.find(tag, same)
	grown := make([]entry[T], len(t.entries), len(t.entries)+1)
	copy(grown, t.entries)
	if at < 0 {
		at, grown = len(grown), append(grown, entry[T]{})
	}
	grown[at] = entry[T]{tag: tag, value: value}
	t.entries = grown
	if len(grown) > maxLeaf && shift < tagBits {
		t.split(edit, shift)
	}
}

// split makes a directory of a full leaf.
func (t *trie[T]) split(edit uint64, shift uint) {
	var sizes [fan]int
	for _, e := range t.entries {
		sizes[e.tag>>shift%fan]++
	}
	dir := &directory[T]{edit: edit}
	for _, e := range t.entries {
		kid := &dir.kids[e.tag>>shift%fan]
		if kid.entries == nil {
			kid.entries = make([]entry[T], 0, sizes[e.tag>>shift%fan])
		}
		kid.entries = append(kid.entries, e)
	}
	*t = trie[T]{dir: dir}
}

// find returns the place of an entry in a leaf, -1 if it isn't there.
func (t *trie[T]) find(tag uint64, same func(*T) bool) int {
	for i := range t.entries {
		if t.entries[i].tag == tag && same(t.entries[i].value) {
			return i
		}
	}
	return -1
}

// remove takes out the entry of this tag for which same holds, if there is one, and the directories that it leaves
// empty.
func (t *trie[T]) remove(edit, tag uint64, same func(*T) bool) {
	if below := (&trie[T]{entries: t.leaf(tag)}); below.find(tag, same) >= 0 {
		t.removeAt(edit, tag, 0, same)
	}
}

func (t *trie[T]) removeAt(edit, tag uint64, shift uint, same func(*T) bool) {
	if t.dir != nil {
		kid := t.kid(edit, tag, shift)
		kid.removeAt(edit, tag, shift+fanBits, same)
		if kid.dir == nil && kid.entries == nil && t.dir.empty() {
			*t = trie[T]{}
		}
		return
	}
	at := t.find(tag, same)
	if len(t.entries) == 1 {
		t.entries = nil
		return
	}
	kept := make([]entry[T], 0, len(t.entries)-1)
	t.entries = append(append(kept, t.entries[:at]...), t.entries[at+1:]...)
}

func (d *directory[T]) empty() bool {
	for i := range d.kids {
		if d.kids[i].dir != nil || d.kids[i].entries != nil {
			return false
		}
	}
	return true
}

// each calls f for every value, in no particular order, until it returns false.
func (t *trie[T]) each(f func(*T) bool) bool {
	if t.dir != nil {
		for i := range t.dir.kids {
			if !t.dir.kids[i].each(f) {
				return false
			}
		}
		return true
	}
	for _, e := range t.entries {
		if !f(e.value) {
			return false
		}
	}
	return true
}
