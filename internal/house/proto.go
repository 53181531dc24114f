package house

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	rpcLine       = regexp.MustCompile(`^\s*rpc\s+(\w+)\s*\(`)
	unstableField = regexp.MustCompile(`^\s*(?:repeated\s+|optional\s+)?(map\s*<|float\s|double\s|google\.protobuf\.(?:Struct|Any|Value)\s)`)
)

// API finds RPCs without a comment, and RPCs of the public API that docs/api.md says nothing of.
func API(root string) ([]Finding, error) {
	reference, err := os.ReadFile(filepath.Join(root, "docs/api.md"))
	if err != nil {
		return nil, err
	}
	return protos(root, func(path string, lines []string) []Finding {
		var found []Finding
		for i, line := range lines {
			rpc := rpcLine.FindStringSubmatch(line)
			if rpc == nil {
				continue
			}
			if i == 0 || !strings.HasPrefix(strings.TrimSpace(lines[i-1]), "//") {
				found = append(found, Finding{Path: path, Line: i + 1, Text: rpc[1] + " has no comment"})
			}
			if within(path, "proto/kavach/v1") && !strings.Contains(string(reference), "### "+rpc[1]+"\n") {
				found = append(found, Finding{Path: path, Line: i + 1, Text: rpc[1] + " is not in docs/api.md: run make gen"})
			}
		}
		return found
	})
}

// Encodings finds fields of replicated commands and stored records whose bytes could differ from node to node.
func Encodings(root string) ([]Finding, error) {
	return protos(root, func(path string, lines []string) []Finding {
		var found []Finding
		for i, line := range lines {
			if f := unstableField.FindStringSubmatch(line); f != nil && within(path, "proto/kavach/raft") {
				found = append(found, Finding{Path: path, Line: i + 1, Text: fmt.Sprintf(
					"%s is not encoded the same everywhere: what is replicated has neither maps nor floats", strings.TrimSpace(f[1]))})
			}
		}
		return found
	})
}

// protos asks a check about every file below proto/.
func protos(root string, check func(path string, lines []string) []Finding) ([]Finding, error) {
	var paths []string
	for _, depth := range []string{"*", "*/*", "*/*/*"} {
		more, err := filepath.Glob(filepath.Join(root, "proto/kavach", depth+".proto"))
		if err != nil {
			return nil, err
		}
		paths = append(paths, more...)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no file below %s", filepath.Join(root, "proto/kavach"))
	}
	slices.Sort(paths)
	var found []Finding
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return nil, err
		}
		found = append(found, check(filepath.ToSlash(rel), strings.Split(string(text), "\n"))...)
	}
	return found, nil
}
