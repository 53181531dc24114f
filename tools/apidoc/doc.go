// Command apidoc writes docs/api.md: the reference of the public API, from the comments of proto/kavach/v1, the reasons
// of status/ and their codes in rpc/errors.go, behind an introduction by hand (intro.md beside this file).
//
// It reads an image that buf has built, because only an image carries the comments. It owns no state, knows nothing of
// how the API is served, and writes one file, as a whole and last: a crash leaves the page as it was.
package main
