// Package faultproxy is test support: a TCP proxy that stands between a node and its database, and fails on command.
//
// # What it can do
//
// A [Weather] holds for the whole proxy until it is changed: bytes pass, come late, are held back, or every connection is refused.
//
// A [CommitFault] concerns one COMMIT, the one statement whose lost reply leaves its sender unable to tell what happened.
// There are three truths behind the same missing reply, and a program has to be right in all of them:
//
//	CutBefore   the database never saw the COMMIT: the transaction is rolled back
//	CutAfter    it was committed, and only the reply is lost
//	CutEarly    the sender has given up, and the database commits some time later
//
// The last one is what makes a plain "is it there?" a wrong question; semi-synchronous replication and a slow network both produce it.
// [Strand] is the fourth way to fail: the client seems to have stopped in mid-transaction, its connection open and its locks held.
//
// # How it sees a COMMIT
//
// The MySQL protocol is framed: three bytes of length, one of sequence, then the payload. The proxy walks the frames in both
// directions and copies what it doesn't need to look at, so packets of any size pass without being held in memory.
// A client's packet with sequence 0 begins a command; a short one whose payload is COM_QUERY and the word COMMIT is the one.
// The packets of the handshake have higher sequences, so logging in passes untouched whatever the method.
// Compressed and TLS connections hide their frames, and are not understood.
//
// # Ownership
//
// [Listen] binds the port, [Proxy.Run] serves until its context ends and waits for every goroutine it started.
// All other methods may be called at any time, from any goroutine.
package faultproxy
