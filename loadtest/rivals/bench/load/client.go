package load

import (
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/valyala/fasthttp"
)

// Client asks a server. It is safe for concurrent use.
type Client struct {
	base string
	http *fasthttp.HostClient
}

// NewClient makes a client with so many connections at most, which waits so long for an answer. It never sends anything twice by itself.
func NewClient(addr string, connections int, timeout time.Duration) *Client {
	return &Client{"http://" + addr, &fasthttp.HostClient{
		Addr: addr, MaxConns: connections, MaxConnWaitTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout,
		MaxIdemponentCallAttempts: 1, NoDefaultUserAgentHeader: true,
	}}
}

// Close gives the connections up that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Answer is what came back, of the members that matter here.
type Answer struct {
	Status int    `json:"-"`
	ID     string `json:"id"`

	Problem      string `json:"type"`
	Retryable    bool   `json:"retryable"`
	RetryAfterMS int64  `json:"retry_after_ms"`
	Outcome      string `json:"outcome"`

	Redeemed    int64 `json:"redeemed"`
	Refunded    int64 `json:"refunded"`
	Redemptions int64 `json:"redemptions"`
}

// Ask sends one request; an error means that there was no answer.
func (c *Client) Ask(method, path, key, body string) (Answer, error) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	if err := c.do(request, response, method, path, key, body); err != nil {
		return Answer{}, err
	}
	a := Answer{Status: response.StatusCode()}
	if len(response.Body()) == 0 {
		return a, nil
	}
	if err := json.Unmarshal(response.Body(), &a); err != nil {
		return a, fmt.Errorf("%s %s: %d: %w: %s", method, path, a.Status, err, response.Body())
	}
	return a, nil
}

func (c *Client) do(request *fasthttp.Request, response *fasthttp.Response, method, path, key, body string) error {
	request.SetRequestURI(c.base + path)
	request.Header.SetMethod(method)
	if body != "" {
		request.Header.SetContentType("application/json")
		request.SetBodyString(body)
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	return c.http.Do(request, response)
}

// Redemptions is the path of an offer's redemptions.
func Redemptions(offer string) string { return "/v1/offers/" + offer + "/redemptions" }

// redeem sends an order and looks at no more than the status.
func (c *Client) redeem(path, key, user string) (acknowledged bool) {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	err := c.do(request, response, http.MethodPost, path, key, `{"user_id":"`+user+`"}`)
	return err == nil && response.StatusCode() == http.StatusCreated
}
