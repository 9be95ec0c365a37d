package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"
)

// healthCheck asks a node whether it lives. An image without a shell has nothing else to ask with.
type healthCheck struct{}

// healthTimeout is shorter than what a container's health check is given.
const healthTimeout = 2 * time.Second

// Run implements the command.
func (healthCheck) Run(ctx context.Context, s *settings) error {
	address, err := s.reachable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.scheme()+address+"/healthz", nil)
	if err != nil {
		return err
	}
	// The certificate is for the name that clients use, and this asks by the address.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	return nil
}

// reachable is the address to ask a node on this machine at: one that listens on all addresses is asked on loopback.
func (s *settings) reachable() (string, error) {
	host, port, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return "", fmt.Errorf("listen %q: want host:port", s.Listen)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}
