package node

import (
	"fmt"
	"net"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

// reservedFiles is how many of the process's file descriptors connections of clients leave alone, beside one for each connection to the
// database: the journal and the data directory need them.
const reservedFiles = 224

// listen binds an address. More connections than there are file descriptors for wait in the kernel until one of the accepted ones has
// ended: a crowd must not take the descriptors that the journal needs.
func listen(address string, dbConns int) (net.Listener, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, fmt.Errorf("listen: limit of open files: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w: choose a free address of this machine with --listen", err)
	}
	return netutil.LimitListener(listener, maxConnections(limit.Cur, dbConns)), nil
}

// maxConnections is how many connections are accepted at once, by the limit of open files. With a low limit it is half of it.
func maxConnections(files uint64, dbConns int) int {
	const plenty = 1 << 20
	files = min(files, plenty)
	return int(files - min(uint64(reservedFiles+dbConns), files/2))
}
