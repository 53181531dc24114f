package main

import (
	_ "embed"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed intro.md
var intro string

func main() {
	image := flag.String("image", "", "the image, as buf build proto -o FILE#format=binpb writes it")
	root := flag.String("root", ".", "the repository")
	out := flag.String("out", "docs/api.md", "the page to write")
	flag.Parse()
	if err := run(*image, *root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

// run writes the page.
func run(image, root, out string) error {
	raw, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	errors, err := readErrors(filepath.Join(root, "status/status.go"), filepath.Join(root, "rpc/errors.go"))
	if err != nil {
		return err
	}
	api, err := readImage(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", image, err)
	}
	page := intro + "\n" + errors + "\n" + api
	return os.WriteFile(out, []byte(page), 0o644)
}
