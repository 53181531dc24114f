package vectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/kavachd/kavachd/status"
)

// Outcome is one step with a recorded answer, and ours.
type Outcome struct {
	Place    int // of the step in its case, from 0
	Step     *Step
	Recorded Answer
	Ours     Answer
	// Marked says that the recorded answer is not promised here.
	Marked bool
}

// Same tells whether the two agree in everything that was recorded.
func (o Outcome) Same() bool { return len(o.Differences()) == 0 }

// Differences names the recorded parts that differ.
func (o Outcome) Differences() []string {
	var names []string
	for name, want := range o.Recorded {
		if !reflect.DeepEqual(plain(want), plain(o.Ours[name])) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// plain is a value as JSON sees it.
func plain(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var out any
	if err := json.Unmarshal(b, &out); err != nil {
		return err
	}
	return out
}

// Run runs a case to its end and returns every step that has a recorded answer, with ours. A fault ends it.
func Run(c *Case) (outcomes []Outcome, err error) {
	s, err := NewStory(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	parted := false
	for i := range s.c.Steps {
		st := &s.c.Steps[i]
		ours, err := s.Step(st)
		if err != nil {
			return outcomes, fmt.Errorf("step %d (%s): %w", i, st.Op, err)
		}
		if st.Expect == nil {
			if ok, said := ours["ok"].(bool); said && !ok && !marked(st.Tags) && c.Quirk == "" {
				return outcomes, fmt.Errorf("step %d (%s): refused with %v", i, st.Op, ours["code"])
			}
			continue
		}
		o := Outcome{Place: i, Step: st, Recorded: st.Expect.answer(), Ours: ours, Marked: c.Quirk != "" || marked(st.Tags) || parted}
		if st.Op == "delegate" && st.MaxDepth != nil && *st.MaxDepth < 1 && o.Recorded["code"] == "DELEGATION_DEPTH_EXCEEDED" {
			o.Recorded["code"] = recordedCode(string(status.InvalidArgument)) // a max_depth below 1 may be refused as that
		}
		// From the first answer that an exact window gives otherwise, the counters are no longer the same.
		parted = parted || slices.Contains(st.Tags, "differs-from-exact-window")
		if code, ok := ours["code"].(string); ok && ours["ok"] == false {
			o.Ours["code"] = recordedCode(code)
		}
		o.Step = &c.Steps[i]
		outcomes = append(outcomes, o)
	}
	return outcomes, nil
}

// answer is what was recorded, in our words where the map of codes has one. The original's wording of a refused
// management call is informative only.
func (e *Expect) answer() Answer {
	a := Answer{}
	put := func(name string, v any) {
		if rv := reflect.ValueOf(v); rv.IsValid() && !((rv.Kind() == reflect.Pointer || rv.Kind() == reflect.Slice) && rv.IsNil()) {
			a[name] = v
		}
	}
	put("ok", e.OK)
	put("allowed", e.Allowed)
	put("reason", e.Reason)
	put("status", e.Status)
	if e.OK != nil && *e.OK && e.TokenShape != nil {
		a["expiresAt"] = e.ExpiresAt
	}
	put("tokenShape", e.TokenShape)
	put("depth", e.Depth)
	put("agent", e.Agent)
	put("agents", e.Agents)
	put("permissions", e.Permissions)
	put("chains", e.Chains)
	if e.Entries != nil {
		a["entries"] = e.Entries
	}
	put("count", e.Count)
	put("header", e.Header)
	put("lines", e.Lines)
	put("createdCount", e.CreatedCount)
	put("allowedCount", e.AllowedCount)
	if e.Code != nil {
		a["code"] = *e.Code
		if *e.Code == "PERMISSION_DENIED" {
			a["code"] = "NO_MATCHING_PERMISSION"
		}
		if *e.Code == "REQUIRES_APPROVAL" {
			a["code"] = "APPROVAL_REQUIRED"
		}
	}
	return a
}
