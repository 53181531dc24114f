package storage

// TableAgent has the agents.
const TableAgent byte = 'a'

// TableToken has the tokens.
const TableToken byte = 'h'

// AgentKey is the one place that spells it.
func AgentKey(id string) []byte { return append([]byte{TableAgent}, id...) }
