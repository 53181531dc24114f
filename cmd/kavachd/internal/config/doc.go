// Package config owns a node's own settings: where they come from, what they mean, and which values make sense.
//
// One table (options.go) drives the YAML file, the KAVACH_* environment, the flags, the documentation and the
// printing. What concerns the whole cluster is replicated state and never stands here.
//
// The package reads files and environment only through its arguments, starts no goroutine and logs nothing. A Config
// is a plain value; nothing here is safe for concurrent change. It keeps nothing on disk, so a crash leaves nothing.
package config
