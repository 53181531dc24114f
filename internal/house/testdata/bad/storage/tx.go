package storage

// Tx writes.
type Tx struct{}

// Set sets.
func (*Tx) Set(key, value []byte) {}

func letters() [][]byte {
	return [][]byte{
		{'b', 1}, // want:keys "bytes that begin with the letter"
		{0, 1},
	}
}
