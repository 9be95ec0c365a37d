package faultproxy

import (
	"bufio"
	"io"
	"strings"
)

const (
	headerBytes = 4
	comQuery    = 0x03
	replyOK     = 0x00

	// longestLookedAt is enough for a COMMIT with some white space, and for the first bytes of any reply.
	longestLookedAt = 32
)

// frame is one packet of the protocol: its header, and the beginning of its payload as far as the proxy looks at it.
// The rest of the payload is still in the reader.
type frame struct {
	header [headerBytes]byte
	start  []byte
	rest   int64
}

// readFrame reads the header and the first bytes of the payload.
func readFrame(r *bufio.Reader) (frame, error) {
	var f frame
	if _, err := io.ReadFull(r, f.header[:]); err != nil {
		return f, err
	}
	length := int64(f.header[0]) | int64(f.header[1])<<8 | int64(f.header[2])<<16
	f.start = make([]byte, min(length, longestLookedAt))
	f.rest = length - int64(len(f.start))
	_, err := io.ReadFull(r, f.start)
	return f, err
}

// forward writes the frame to w, what is still in r included. One write for a short frame, so that it is never seen in halves.
func (f frame) forward(w io.Writer, r *bufio.Reader) error {
	if _, err := w.Write(append(f.header[:], f.start...)); err != nil {
		return err
	}
	if f.rest == 0 {
		return nil
	}
	_, err := io.CopyN(w, r, f.rest)
	return err
}

// isCommit reports whether a frame from a client asks for a COMMIT.
func (f frame) isCommit() bool {
	if f.header[3] != 0 || f.rest > 0 || len(f.start) < 2 || f.start[0] != comQuery {
		return false
	}
	return strings.EqualFold(strings.TrimRight(strings.TrimSpace(string(f.start[1:])), ";"), "COMMIT")
}

// saysOK reports whether a frame from the server is an OK packet.
func (f frame) saysOK() bool { return len(f.start) > 0 && f.start[0] == replyOK }
