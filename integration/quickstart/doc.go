// Command quickstart starts a cluster of three nodes on loopback and walks through the KavachOS quickstart over the public
// API: make an agent, authorize, rotate its token, delegate, read the audit trail. Every step tells what it asked, what
// came back and which node answered, and every answer is checked: a difference ends the program with exit code 1.
//
//	go run ./integration/quickstart           # ends by itself and leaves nothing behind
//	go run ./integration/quickstart --keep    # leaves the cluster up and says how to use and to stop it
//
// It knows the API and the command line of kavachd, and nothing of how a node works inside. It owns the processes it starts
// and its folder; both are gone when it returns, also after Ctrl-C, unless they are to be kept. If it is killed, the nodes
// run on: their process ids are in the files node*.pid of the folder.
package main
