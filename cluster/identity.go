package cluster

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/uuid"
)

// Files of the data directory. Persisted: never rename one.
const (
	nodeIDFile    = "node-id"
	clusterIDFile = "cluster-id"
	lockFile      = "lock"
	raftFile      = "raft.db"
	stateDir      = "state"
	journalDir    = "journal"
)

// stage is how far a node's membership has come. It is persisted by name: never rename one.
type stage string

const (
	stageNone     stage = ""         // no cluster yet: may found, or join
	stageFounding stage = "founding" // has made a cluster's id; the cluster's record isn't applied yet
	stageJoining  stage = "joining"  // knows which cluster to join; never founds any more
	stageMember   stage = "member"   // has taken part; its Raft state must be here
)

// errIncomplete is returned for a data directory that has lost its Raft state: with its old id the node would vote as
// if it had never stored anything.
var errIncomplete = errors.New("the data directory belongs to a member, but its Raft state is gone: remove it from the " +
	"cluster, wipe the whole directory and join again")

// identity is who a node is, on disk and in memory. Safe for concurrent use.
type identity struct {
	dir  string
	node string
	lock *os.File // of the directory

	mu struct {
		sync.Mutex
		stage   stage
		cluster clusterID // Invariant: zero if and only if stage is stageNone
	}
}

// openIdentity takes the directory for this process and reads the identity in it; it makes the node's id on the first
// start.
func openIdentity(dir string, random io.Reader) (id *identity, err error) {
	id = &identity{dir: dir}
	if id.lock, err = lockDir(dir); err != nil {
		return nil, err
	}
	if err := id.read(random); err != nil {
		return nil, errors.Join(err, id.close())
	}
	return id, nil
}

func (id *identity) read(random io.Reader) error {
	dir := id.dir
	text, err := os.ReadFile(filepath.Join(dir, nodeIDFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		made, err := uuid.NewRandomFromReader(random)
		if err != nil {
			return fmt.Errorf("make a node id: %w", err)
		}
		id.node = made.String()
		if err := writeSynced(dir, nodeIDFile, id.node+"\n"); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		read, err := uuid.Parse(strings.TrimSpace(string(text)))
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, nodeIDFile), err)
		}
		id.node = read.String()
	}
	return id.readCluster()
}

func (id *identity) readCluster() error {
	name := filepath.Join(id.dir, clusterIDFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	word, at, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	b, err := hex.DecodeString(word)
	if err != nil || len(b) != len(clusterID{}) || clusterID(b) == (clusterID{}) {
		return fmt.Errorf("%s: %q is no cluster id", name, word)
	}
	switch s := stage(at); s {
	case stageFounding, stageJoining, stageMember:
		id.mu.cluster, id.mu.stage = clusterID(b), s
		return nil
	}
	return fmt.Errorf("%s: unknown stage %q", name, at)
}

// close lets go of the data directory.
func (id *identity) close() error { return id.lock.Close() }

// get returns the cluster and how far membership has come.
func (id *identity) get() (clusterID, stage) {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.mu.cluster, id.mu.stage
}

// cluster returns the cluster's id, zero before there is one.
func (id *identity) cluster() clusterID {
	c, _ := id.get()
	return c
}

// set moves to a stage, on disk first. A node never changes its cluster.
func (id *identity) set(c clusterID, s stage) error {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.mu.stage != stageNone && id.mu.cluster != c {
		return fmt.Errorf("this node belongs to cluster %v, not to %v", id.mu.cluster, c)
	}
	if id.mu.cluster == c && id.mu.stage == s {
		return nil
	}
	if err := writeSynced(id.dir, clusterIDFile, c.String()+" "+string(s)+"\n"); err != nil {
		return err
	}
	id.mu.cluster, id.mu.stage = c, s
	return nil
}

// writeSynced replaces a file so that a crash leaves the old or the new content.
func writeSynced(dir, name, content string) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// makeDataDir makes dir and what leads to it, and syncs the parent: else a power cut takes the whole directory.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}
