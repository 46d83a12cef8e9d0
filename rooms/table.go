package rooms

import (
	"hash/maphash"
	"iter"
	"unsafe"
)

// A nameTable finds rooms by their names, in about 14 bytes each; a map takes
// 45. It is a hash table with linear probing, whose entries know their names. An
// eighth bit of each tag says that the slot is used; the others are of the hash,
// so that hardly any other entry is looked at. It is not safe for concurrent use.
// The zero table is empty.
type nameTable[E named] struct {
	slots []E
	tags  []uint8
	used  int
}

// named is what has a name that does not change.
type named interface {
	comparable
	key() string
}

const (
	tableMinSlots = 4
	tagUsed       = 0x80
)

// nameSeed is the seed of all tables' hashes.
var nameSeed = maphash.MakeSeed()

// hashName is the hash of a name in all tables.
func hashName(name string) uint64 { return maphash.String(nameSeed, name) }

func tagOf(hash uint64) uint8 { return uint8(hash) | tagUsed }

// home is the slot in which an entry is looked for first.
func (t *nameTable[E]) home(hash uint64) int {
	return int(hash >> 32 * uint64(len(t.slots)) >> 32)
}

// find returns the slot of a name, or the empty one in which it belongs.
func (t *nameTable[E]) find(hash uint64, name string) int {
	i := t.home(hash)
	for tag := tagOf(hash); t.tags[i] != 0 && (t.tags[i] != tag || t.slots[i].key() != name); {
		if i++; i == len(t.tags) {
			i = 0
		}
	}
	return i
}

// get returns the entry with a name, the zero entry if there is none.
func (t *nameTable[E]) get(hash uint64, name string) (e E) {
	if t.used > 0 {
		e = t.slots[t.find(hash, name)]
	}
	return e
}

// put adds an entry. There must be none with its name.
func (t *nameTable[E]) put(hash uint64, e E) {
	if (t.used+1)*4 > len(t.slots)*3 { // three quarters at most
		t.resize(max(len(t.slots)*5/4, len(t.slots)+tableMinSlots))
	}
	t.place(hash, e)
}

func (t *nameTable[E]) place(hash uint64, e E) {
	i := t.find(hash, e.key())
	t.slots[i], t.tags[i] = e, tagOf(hash)
	t.used++
}

// remove takes the entry with a name out, if there is one.
func (t *nameTable[E]) remove(hash uint64, name string) {
	if t.used == 0 {
		return
	}
	if gap := t.find(hash, name); t.tags[gap] != 0 {
		t.vacate(gap)
	}
	switch {
	case t.used == 0:
		*t = nameTable[E]{}
	case t.used*4 < len(t.slots) && len(t.slots) > tableMinSlots:
		t.resize(max(t.used*2, tableMinSlots))
	}
}

// vacate empties a slot. What was put behind it because it was taken moves up.
func (t *nameTable[E]) vacate(gap int) {
	t.used--
	n := len(t.slots)
	for i := (gap + 1) % n; t.tags[i] != 0; i = (i + 1) % n {
		home := t.home(hashName(t.slots[i].key()))
		if (i-home+n)%n >= (i-gap+n)%n { // its way leads over the gap
			t.slots[gap], t.tags[gap] = t.slots[i], t.tags[i]
			gap = i
		}
	}
	var none E
	t.slots[gap], t.tags[gap] = none, 0
}

func (t *nameTable[E]) resize(n int) {
	old := t.slots
	*t = nameTable[E]{slots: make([]E, n), tags: make([]uint8, n)}
	var none E
	for _, e := range old {
		if e != none {
			t.place(hashName(e.key()), e)
		}
	}
}

// all has the entries. The table must not change meanwhile.
func (t *nameTable[E]) all() iter.Seq[E] {
	return func(yield func(E) bool) {
		for i, tag := range t.tags {
			if tag != 0 && !yield(t.slots[i]) {
				return
			}
		}
	}
}

// tableParts is how many tables the rooms of a shard are spread over, so that
// the loop grows one in little time.
const tableParts = 256

// roomTable has the rooms of a shard. Owned by its event loop. The zero table
// is empty.
type roomTable struct {
	parts []nameTable[*room] // nil until there is a room
	size  int
}

func (t *roomTable) part(hash uint64) *nameTable[*room] {
	return &t.parts[hash>>8%tableParts]
}

// get returns the room with a name, nil when there is none.
func (t *roomTable) get(name string) *room {
	if t.parts == nil {
		return nil
	}
	hash := hashName(name)
	return t.part(hash).get(hash, name)
}

// getBytes is get for a name in a buffer.
func (t *roomTable) getBytes(name []byte) *room {
	return t.get(unsafe.String(unsafe.SliceData(name), len(name)))
}

// put adds a room. There must be none with its name.
func (t *roomTable) put(r *room) {
	if t.parts == nil {
		t.parts = make([]nameTable[*room], tableParts)
	}
	hash := hashName(r.name)
	t.part(hash).put(hash, r)
	t.size++
}

// remove takes a room out.
func (t *roomTable) remove(r *room) {
	hash := hashName(r.name)
	t.part(hash).remove(hash, r.name)
	if t.size--; t.size == 0 {
		t.parts = nil
	}
}

// list returns all rooms.
func (t *roomTable) list() []*room {
	list := make([]*room, 0, t.size)
	for i := range t.parts {
		for r := range t.parts[i].all() {
			list = append(list, r)
		}
	}
	return list
}
