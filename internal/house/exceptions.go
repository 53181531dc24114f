package house

import "slices"

// Exception lets a rule be broken in one file, for a reason.
type Exception struct {
	Rule string
	Path string
	Why  string
}

// exceptions is the whole list. One that nothing needs is red.
var exceptions = []Exception{
	{"keys", "cluster/raftstore/raftstoretest/machine.go", "a state machine of the tests, whose keys are of no table of ours"},
	{"sizes", "storage/keys.go", "the key space is spelled in one file by another rule, with its drawing on top"},
	{"codes", "cluster/peers.go", "the node protocol, which no caller of the API ever sees"},
	{"codes", "cluster/service.go", "the node protocol, which no caller of the API ever sees"},
}

// without takes out the findings that an exception covers, and tells which exceptions of the rule covered none.
func without(rule string, found []Finding, exceptions []Exception) (rest []Finding, unused []Exception) {
	used := make([]bool, len(exceptions))
	for _, f := range found {
		i := slices.IndexFunc(exceptions, func(e Exception) bool { return e.Rule == rule && e.Path == f.Path })
		if i < 0 {
			rest = append(rest, f)
			continue
		}
		used[i] = true
	}
	for i, e := range exceptions {
		if e.Rule == rule && !used[i] {
			unused = append(unused, e)
		}
	}
	return rest, unused
}
