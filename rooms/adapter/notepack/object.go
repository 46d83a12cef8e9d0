package notepack

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/hometrip/gateway/codec"
)

// Get returns a member of the object, and whether it exists and is not
// undefined.
func (v *Value) Get(key string) (Value, bool) {
	for i := range v.Members {
		if m := &v.Members[i]; m.Key == key {
			return m.Value, m.Value.Kind != Undefined
		}
	}
	return Value{}, false
}

// Text returns the content of a String.
func (v *Value) Text() (string, bool) { return string(v.Bytes), v.Kind == String }

// properties are the members of an object while it is read.
type properties struct {
	members []Member
	seen    map[string]int // indexes in members; nil while they are few
}

// fewMembers is the number of members up to which a linear search finds a key
// faster.
const fewMembers = 16

// set does what `object[key] = value` does. The key __proto__ sets no property.
func (o *properties) set(key string, value Value) {
	if key == "__proto__" {
		return
	}
	if i := o.index(key); i >= 0 {
		o.members[i].Value = value
		return
	}
	o.members = append(o.members, Member{key, value})
	if o.seen != nil {
		o.seen[key] = len(o.members) - 1
	} else if len(o.members) > fewMembers {
		o.seen = make(map[string]int, 2*fewMembers)
		for i := range o.members {
			o.seen[o.members[i].Key] = i
		}
	}
}

func (o *properties) index(key string) int {
	if o.seen != nil {
		if i, ok := o.seen[key]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(o.members, func(m Member) bool { return m.Key == key })
}

// ordered returns the members in the order in which JavaScript lists them:
// array indexes first, ascending, then the others as they came (ECMAScript,
// "OrdinaryOwnPropertyKeys").
func (o *properties) ordered() []Member {
	isIndex := func(m Member) bool { _, ok := arrayIndex(m.Key); return ok }
	if slices.ContainsFunc(o.members, isIndex) {
		slices.SortStableFunc(o.members, func(a, b Member) int {
			i, aIndex := arrayIndex(a.Key)
			j, bIndex := arrayIndex(b.Key)
			switch {
			case aIndex && bIndex:
				return int(i) - int(j)
			case aIndex:
				return -1
			case bIndex:
				return 1
			}
			return 0
		})
	}
	return o.members
}

// arrayIndex reads a property name that is an array index: a canonical decimal
// below 2^32-1.
func arrayIndex(key string) (uint32, bool) {
	if key == "" || len(key) > 10 || key[0] < '0' || key[0] > '9' || key[0] == '0' && len(key) > 1 {
		return 0, false
	}
	n, err := strconv.ParseUint(key, 10, 32)
	return uint32(n), err == nil && n < math.MaxUint32
}

// propertyName returns the text of a value that is used as a key in JavaScript.
// notepack writes only strings, so the rarer kinds are refused.
func (v *Value) propertyName() (string, error) {
	switch v.Kind {
	case String:
		return strings.ToValidUTF8(string(v.Bytes), "\ufffd"), nil
	case Number:
		return string(codec.AppendNumber(nil, v.Number)), nil
	}
	return "", fmt.Errorf("notepack: a key of kind %d", v.Kind)
}
