package cluster

// Status is what a node knows of itself and of the cluster, from its own state: it asks nobody.
type Status struct {
	NodeID    string
	ClusterID string // hex; empty: none yet
	Version   string
	// State is what Raft says of this node: Leader, Follower, Candidate, Shutdown.
	State string
	Term  uint64
	// LeaderID and LeaderAddress (of its API) are empty when no leader is known.
	LeaderID, LeaderAddress string
	// Ready says that the node is a member and has applied state; Problem, why it isn't.
	Ready   bool
	Problem string
	// Applied is the index of the state that answers; Commit is what Raft knows to be committed.
	Applied, Commit uint64
	// Digests of the replicated tables, hex, by the table's letter: equal on all nodes at one Applied index of a command.
	Digests map[string]string
	// JournalBacklog is how many audit entries are not yet replicated.
	JournalBacklog uint64
	Members        []Member
}

// Member is one node of the Raft configuration.
type Member struct {
	NodeID                                 string
	APIAddress, RaftAddress, GossipAddress string
	Version                                string
	Voter                                  bool
	Leader                                 bool
	// Alive is a hint from gossip, or true for this node itself.
	Alive bool
}
