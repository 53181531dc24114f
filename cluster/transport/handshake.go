package transport

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// MaxID is the longest node id in bytes.
const MaxID = 64

const (
	nonceLen   = 16
	clusterLen = 16
	macLen     = sha256.Size
)

var magic = [4]byte{'K', 'V', 'R', '1'}

// verdict is the acceptor's answer to a hello. Don't renumber: it is on the wire.
type verdict byte

const (
	accepted     verdict = 0
	wrongCluster verdict = 1
	wrongNode    verdict = 2
	noCluster    verdict = 3
)

// Errors of a handshake, on both sides.
var (
	ErrHandshake    = errors.New("handshake failed")
	ErrWrongCluster = fmt.Errorf("%w: the peer belongs to another cluster", ErrHandshake)
	ErrWrongNode    = fmt.Errorf("%w: another node answers there", ErrHandshake)
	ErrNoCluster    = fmt.Errorf("%w: no cluster joined yet", ErrHandshake)
	ErrSecret       = fmt.Errorf("%w: the join secrets differ", ErrHandshake)
)

func (v verdict) err() error {
	switch v {
	case accepted:
		return nil
	case wrongCluster:
		return ErrWrongCluster
	case wrongNode:
		return ErrWrongNode
	case noCluster:
		return ErrNoCluster
	}
	return fmt.Errorf("%w: unknown verdict %d", ErrHandshake, v)
}

// Cluster is a cluster's id.
type Cluster [clusterLen]byte

// identity is what one side brings to a handshake.
type identity struct {
	node    string
	cluster Cluster
	joined  bool // cluster is set
	key     [32]byte
}

// transcript keeps all bytes that passed, in order, so that a mac covers them.
type transcript struct {
	rw  io.ReadWriter
	all bytes.Buffer
	key [32]byte
}

func (t *transcript) write(parts ...[]byte) error {
	message := bytes.Join(parts, nil)
	t.all.Write(message)
	_, err := t.rw.Write(message)
	return err
}

// read returns the next n bytes; n is a constant of the format, or one byte.
func (t *transcript) read(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(t.rw, b); err != nil {
		return nil, err
	}
	t.all.Write(b)
	return b, nil
}

func (t *transcript) readID() (string, error) {
	n, err := t.read(1)
	if err != nil {
		return "", err
	}
	if n[0] == 0 || n[0] > MaxID {
		return "", fmt.Errorf("%w: node id of %d bytes", ErrHandshake, n[0])
	}
	id, err := t.read(int(n[0]))
	return string(id), err
}

func (t *transcript) mac(side string) []byte {
	h := hmac.New(sha256.New, t.key[:])
	h.Write([]byte(side))
	h.Write(t.all.Bytes())
	return h.Sum(nil)
}

// checkMAC reads the other side's mac and compares it in constant time.
func (t *transcript) checkMAC(side string) error {
	want := t.mac(side)
	got, err := t.read(macLen)
	if err != nil {
		return err
	}
	if !hmac.Equal(got, want) {
		return ErrSecret
	}
	return nil
}

func encodeID(id string) []byte { return append([]byte{byte(len(id))}, id...) }

func newNonce() []byte {
	b := make([]byte, nonceLen)
	rand.Read(b) // never fails, says its documentation
	return b
}

// dial runs the dialer's side. target is whom it expects.
func dial(rw io.ReadWriter, me identity, target string) error {
	if len(target) == 0 || len(target) > MaxID || len(me.node) == 0 || len(me.node) > MaxID {
		return fmt.Errorf("%w: node ids %q and %q", ErrHandshake, me.node, target)
	}
	t := &transcript{rw: rw, key: me.key}
	if err := t.write(magic[:], me.cluster[:], newNonce(), encodeID(target), encodeID(me.node)); err != nil {
		return err
	}
	v, err := t.read(1 + nonceLen)
	if err != nil {
		return err
	}
	peer, err := t.readID()
	if err != nil {
		return err
	}
	if err := t.checkMAC("acceptor"); err != nil {
		return err
	}
	if err := verdict(v[0]).err(); err != nil {
		return err
	}
	if peer != target {
		return fmt.Errorf("%w: %s instead of %s", ErrWrongNode, peer, target)
	}
	if err := t.write(t.mac("dialer")); err != nil {
		return err
	}
	if done, err := t.read(1); err != nil || done[0] != 1 {
		return errors.Join(ErrSecret, err)
	}
	return nil
}

// accept runs the acceptor's side, and returns who dialed.
func accept(rw io.ReadWriter, me identity) (peer string, err error) {
	t := &transcript{rw: rw, key: me.key}
	head, err := t.read(len(magic) + clusterLen + nonceLen)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(head[:len(magic)], magic[:]) {
		return "", fmt.Errorf("%w: unknown protocol", ErrHandshake)
	}
	target, err := t.readID()
	if err != nil {
		return "", err
	}
	if peer, err = t.readID(); err != nil {
		return "", err
	}
	v := me.judge(Cluster(head[len(magic):len(magic)+clusterLen]), target)
	if err := t.write([]byte{byte(v)}, newNonce(), encodeID(me.node)); err != nil {
		return "", err
	}
	if err := t.write(t.mac("acceptor")); err != nil {
		return "", err
	}
	if err := v.err(); err != nil {
		return "", fmt.Errorf("%w (asked by %s, for %s)", err, peer, target)
	}
	if err := t.checkMAC("dialer"); err != nil {
		return "", err
	}
	return peer, t.write([]byte{1})
}

func (me identity) judge(c Cluster, target string) verdict {
	switch {
	case !me.joined:
		return noCluster
	case c != me.cluster:
		return wrongCluster
	case target != me.node:
		return wrongNode
	}
	return accepted
}
