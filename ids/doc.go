// Package ids owns the textual and binary forms of identifiers, agent tokens and API keys.
//
// It is a leaf: it imports nothing of ours, reads no clock and no randomness (both come in as arguments), and knows
// neither what an identifier names nor where it is stored. Everything here is safe for concurrent use, because
// nothing here keeps state.
package ids
