package vectors

import (
	"encoding/json"
	"slices"
	"strings"
)

// stand is what an empty text is replaced by in the cases that hold below API validation only: the state machine refuses
// empty resources and actions, as the API does. It is one literal segment that no case has, so it matches, covers and is
// covered as the empty one would be; an empty list of actions becomes a list that no call names.
const stand = "\u2205"

// substituted is the case with every empty resource and action replaced, in what is asked and in what was recorded.
func (c *Case) substituted() *Case {
	out := *c
	out.Steps = slices.Clone(c.Steps)
	for i := range out.Steps {
		st := &out.Steps[i]
		st.Resource, st.Action = filled(st.Resource), filled(st.Action)
		st.Permissions = filledAll(st.Permissions)
		if st.Expect == nil {
			continue
		}
		e := *st.Expect
		e.Permissions = filledAll(e.Permissions)
		if e.Reason != nil {
			text := strings.ReplaceAll(*e.Reason, `""`, `"`+stand+`"`)
			e.Reason = &text
		}
		if len(e.Agent) > 0 {
			e.Agent = json.RawMessage(strings.ReplaceAll(string(e.Agent), `"resource":""`, `"resource":"`+stand+`"`))
		}
		st.Expect = &e
	}
	return &out
}

func filled(text string) string {
	if text == "" {
		return stand
	}
	return text
}

func filledAll(list *[]Permission) *[]Permission {
	if list == nil {
		return nil
	}
	out := slices.Clone(*list)
	for i := range out {
		out[i].Resource = filled(out[i].Resource)
		out[i].Actions = slices.Clone(out[i].Actions)
		for j := range out[i].Actions {
			out[i].Actions[j] = filled(out[i].Actions[j])
		}
		if len(out[i].Actions) == 0 {
			out[i].Actions = []string{stand + "none"}
		}
	}
	return &out
}
