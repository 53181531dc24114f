package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	kavachv1 "github.com/kavachd/kavachd/gen/kavach/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestErrorsAreCurrent: the committed page has the reasons and codes of the source.
func TestErrorsAreCurrent(t *testing.T) {
	want, err := readErrors("../../status/status.go", "../../rpc/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(page), intro+"\n"+want) {
		t.Error("docs/api.md is not current: run make gen")
	}
}

// TestMethodsAreCurrent: every field of every request and response of the compiled API stands on the page.
func TestMethodsAreCurrent(t *testing.T) {
	page, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	services := kavachv1.File_kavach_v1_agent_proto.Services()
	for i := range services.Len() {
		for j := range services.Get(i).Methods().Len() {
			m := services.Get(i).Methods().Get(j)
			_, section, found := strings.Cut(string(page), "### "+string(m.Name())+"\n")
			section, _, _ = strings.Cut(section, "\n### ")
			if !found {
				t.Errorf("%s is not on the page", m.FullName())
			}
			for k := range m.Input().Fields().Len() {
				if f := m.Input().Fields().Get(k); !strings.Contains(section, "| `"+string(f.Name())+"` |") {
					t.Errorf("%s of %s is not on the page", f.Name(), m.FullName())
				}
			}
		}
	}
}

func TestReadErrors(t *testing.T) {
	const reasons = `package status

type Reason string

const (
	// The request is at fault.
	Bad Reason = "BAD" // malformed | or worse
	Old Reason = "OLD"

	// The state says no.
	Gone Reason = "GONE"
)
`
	tests := []struct {
		name, codes, want, err string
	}{
		{
			name: "good",
			codes: `package rpc
func codeOf(r status.Reason) connect.Code {
	switch r {
	case status.Bad, status.Old:
		return connect.CodeInvalidArgument
	case status.Gone:
		return connect.CodeNotFound
	}
	return 0
}`,
			want: "\nThe request is at fault.\n\n| reason | code | HTTP | |\n| --- | --- | --- | --- |\n" +
				"| BAD | invalid_argument | 400 | malformed \\| or worse |\n| OLD | invalid_argument | 400 |  |\n" +
				"\nThe state says no.\n\n| reason | code | HTTP | |\n| --- | --- | --- | --- |\n| GONE | not_found | 404 |  |\n",
		},
		{
			name:  "a reason without a code",
			codes: "package rpc\nfunc codeOf() connect.Code {\n\tswitch {\n\tcase status.Bad:\n\t\treturn connect.CodeNotFound\n\t}\n}",
			err:   "no code for status.Old",
		},
		{name: "no switch", codes: "package rpc\n", err: "no case that returns"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"status.go": reasons, "errors.go": tc.codes} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := readErrors(filepath.Join(dir, "status.go"), filepath.Join(dir, "errors.go"))
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, want %q in it", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			_, got, _ = strings.Cut(got, "never on the message.\n")
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

// TestReadImage makes an image from the compiled API, gives one method a comment, and looks for it on the page.
func TestReadImage(t *testing.T) {
	var set descriptorpb.FileDescriptorSet
	seen := map[string]bool{}
	var add func(f *descriptorpb.FileDescriptorProto)
	add = func(f *descriptorpb.FileDescriptorProto) {
		if seen[f.GetName()] {
			return
		}
		seen[f.GetName()] = true
		for _, dep := range f.GetDependency() {
			d, err := protodescFile(dep)
			if err != nil {
				t.Fatal(err)
			}
			add(d)
		}
		set.File = append(set.File, f)
	}
	agent := protodesc.ToFileDescriptorProto(kavachv1.File_kavach_v1_agent_proto)
	agent.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
		{Path: []int32{6, 0, 2, 0}, Span: []int32{1, 2, 3}, LeadingComments: new(" CreateAgent makes\n an agent.\n")},
	}}
	add(agent)
	raw, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	page, err := readImage(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### CreateAgent\n\nCreateAgent makes an agent.\n\n    POST /v1/agents\n    POST /kavach.v1.AgentService/CreateAgent\n",
		"| `owner_id` | string | *min_bytes 1, max_bytes 256* |",
		"| `permissions` | list of [Permission](#permission) | *max_items 10000* |",
		"| `ttl` | Duration | (one of `expiry`) *lte 876000h0m0s, gte 1ms* |",
		"### AgentStatus\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("not on the page: %q", want)
		}
	}
	if _, err := readImage([]byte{0xff}); err == nil {
		t.Error("an image of nonsense gave a page")
	}
	if _, err := readImage(nil); err == nil {
		t.Error("an empty image gave a page")
	}
}

// protodescFile finds the compiled form of an imported file.
func protodescFile(path string) (*descriptorpb.FileDescriptorProto, error) {
	f, err := protoregistry.GlobalFiles.FindFileByPath(path)
	if err != nil {
		return nil, err
	}
	return protodesc.ToFileDescriptorProto(f), nil
}
