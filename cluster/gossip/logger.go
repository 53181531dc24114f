package gossip

import (
	"bytes"
	"context"
	"log"
	"log/slog"
)

// newLogger returns a logger for the library, whose lines begin with their level in brackets.
func newLogger(l *slog.Logger) *log.Logger { return log.New(lines{l}, "", 0) }

type lines struct{ log *slog.Logger }

// Write takes one line.
func (w lines) Write(line []byte) (int, error) {
	level, text := slog.LevelInfo, bytes.TrimSpace(line)
	for prefix, l := range map[string]slog.Level{
		"[DEBUG] ": slog.LevelDebug, "[INFO] ": slog.LevelInfo, "[WARN] ": slog.LevelWarn, "[ERR] ": slog.LevelError, "[ERROR] ": slog.LevelError,
	} {
		if rest, ok := bytes.CutPrefix(text, []byte(prefix)); ok {
			level, text = l, rest
			break
		}
	}
	w.log.Log(context.Background(), level, string(text), "part", "gossip")
	return len(line), nil
}
