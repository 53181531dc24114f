package vectors

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite-deviations", false, "write testdata/deviations.jsonl anew, to be read before it is committed")

// deviation is a marked step whose answer here is not the recorded one.
type deviation struct {
	Case     string   `json:"case"`
	Quirk    string   `json:"quirk,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	Step     int      `json:"step"`
	Op       string   `json:"op"`
	Recorded Answer   `json:"recorded"`
	Ours     Answer   `json:"ours"`
}

// TestVectorsDeviations pins what is answered here where a mark says that the recorded answer is not promised. For every
// mark some lines of testdata/deviations.jsonl were held against the specification; a change of any shows.
func TestVectorsDeviations(t *testing.T) {
	if os.Getenv(DirEnv) != "" {
		t.Log("other cases than the project's own: their deviations are not pinned")
		return
	}
	var out bytes.Buffer
	for _, file := range []string{"delegations.jsonl", "scenarios.jsonl"} {
		cases, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := range cases {
			if !cases[i].Supported() {
				continue
			}
			if err := appendDeviations(&out, &cases[i]); err != nil {
				t.Fatalf("%s: %v", cases[i].ID, err)
			}
		}
	}
	name := filepath.Join("testdata", "deviations.jsonl")
	if *rewrite {
		if err := os.WriteFile(name, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("the answers to marked steps have changed (-committed +now):\n%s", diff)
	}
}

func appendDeviations(out *bytes.Buffer, c *Case) error {
	outcomes, err := Run(c)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		names := o.Differences()
		if !o.Marked || len(names) == 0 {
			continue
		}
		d := deviation{Case: c.ID, Quirk: c.Label(), Tags: o.Step.Tags, Step: o.Place, Op: o.Step.Op, Recorded: Answer{}, Ours: Answer{}}
		for _, n := range names {
			d.Recorded[n], d.Ours[n] = o.Recorded[n], o.Ours[n]
		}
		line, err := json.Marshal(d)
		if err != nil {
			return err
		}
		out.Write(append(line, '\n'))
	}
	return nil
}
