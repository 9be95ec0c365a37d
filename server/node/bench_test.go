package node

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"tranche/internal/storetest"
)

// BenchmarkRedeem is a whole node, from its socket to the ledger: redemptions over 64 connections, each of another user, and their
// settling. loadtest/profile.sh tells what of it costs how much. The client is part of the process, and does next to nothing.
func BenchmarkRedeem(b *testing.B) {
	for name, terms := range map[string]string{"fast": `"mode":"fast"`, "strict": `"mode":"strict"`, "strict-limited": `"mode":"strict","user_limit_redemptions":1`} {
		b.Run(name, func(b *testing.B) {
			c := config(b)
			if os.Getenv(storetest.DSNVariable) != "" {
				c.DSN = storetest.MySQL(b)
			}
			n := start(b, c)
			n.ready(200)
			offer := `{"id":"hot","name":"Hot","budget":1000000000,"lease_size":100000,` + terms + `}`
			if status, v := n.call("POST", "/v1/offers", offer); status != 201 {
				b.Fatal(status, v)
			}
			const connections = 64
			var left atomic.Int64
			left.Store(int64(b.N))
			var crowd sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for i := range connections {
				crowd.Go(func() {
					if err := redeemOn(n.Addr().String(), strconv.Itoa(i), &left); err != nil {
						b.Error(err)
					}
				})
			}
			crowd.Wait()
			n.until("everything is settled", func() bool {
				records, _ := n.journal.Backlog()
				return records == 0
			})
		})
	}
}

// redeemOn redeems over one connection as long as there are some left to do.
func redeemOn(addr, name string, left *atomic.Int64) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	var request []byte
	for i := 0; left.Add(-1) >= 0; i++ {
		body := `{"user_id":"user-` + name + "-" + strconv.Itoa(i) + `"}`
		request = append(request[:0], "POST /v1/offers/hot/redemptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: order-"...)
		request = append(strconv.AppendInt(append(append(request, name...), '-'), int64(i), 10), "\r\nContent-Length: "...)
		request = append(append(strconv.AppendInt(request, int64(len(body)), 10), "\r\n\r\n"...), body...)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := readCreated(answers); err != nil {
			return err
		}
	}
	return nil
}

// readCreated reads an answer, which must be a 201 with a Content-Length.
func readCreated(answers *bufio.Reader) error {
	status, err := answers.ReadSlice('\n')
	if err != nil {
		return err
	}
	created := bytes.HasPrefix(status, []byte("HTTP/1.1 201"))
	length := 0
	for {
		line, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	body, err := answers.Peek(length)
	if err == nil && !created {
		err = fmt.Errorf("not redeemed: %s", body)
	}
	if err == nil {
		_, err = io.CopyN(io.Discard, answers, int64(length))
	}
	return err
}
