package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
)

// TestBadBodiesAreRefusedAndNothingIsSpent goes through what clients and attackers send.
func TestBadBodiesAreRefusedAndNothingIsSpent(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	deep := strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000)
	for name, c := range map[string]struct{ body, faults string }{
		"empty":                       {"", "body json"},
		"white space":                 {" \n", "body json"},
		"null":                        {"null", "body json"},
		"an array":                    {`[{"user_id":"u"}]`, "body json"},
		"a text":                      {`"user_id"`, "body json"},
		"not JSON":                    {`user_id=u`, "body json"},
		"cut off":                     {`{"user_id":"u"`, "body json"},
		"cut off in a text":           {`{"user_id":"u`, "body json"},
		"trailing comma":              {`{"user_id":"u",}`, "body json"},
		"trailing data":               {`{"user_id":"u"}{}`, "body json"},
		"trailing garbage":            {`{"user_id":"u"} x`, "body json"},
		"single quotes":               {`{'user_id':'u'}`, "body json"},
		"a comment":                   {`{"user_id":"u"/*c*/}`, "body json"},
		"a byte order mark":           {"\ufeff" + `{"user_id":"u"}`, "body json"},
		"duplicate name":              {`{"user_id":"u","user_id":"v"}`, "body json"},
		"duplicate name, escaped":     {`{"user_id":"u","user\u005fid":"v"}`, "body json"},
		"duplicate name in metadata":  {`{"user_id":"u","metadata":{"a":{"b":1,"b":2}}}`, "body json"},
		"invalid UTF-8":               {"{\"user_id\":\"\xff\xfe\"}", "body json"},
		"invalid UTF-8 in a name":     {"{\"user_id\":\"u\",\"\xff\":1}", "body json"},
		"half a surrogate pair":       {`{"user_id":"\ud83c"}`, "body json"},
		"raw control character":       {"{\"user_id\":\"a\x00b\"}", "body json"},
		"deep":                        {`{"user_id":"u","metadata":` + strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 33), "body depth"},
		"very deep":                   {`{"user_id":"u","metadata":` + deep[:60_000], "body depth"},
		"very deep arrays":            {`{"user_id":"u","metadata":` + strings.Repeat("[", 60_000), "body depth"},
		"unknown member":              {`{"user_id":"u","cart_id":60}`, "cart_id unknown"},
		"unknown member, other case":  {`{"user_id":"u","Units":2}`, "Units unknown"},
		"many unknown members":        {`{"user_id":"u"` + many(70) + `}`, "body json"},
		"no user":                     {`{}`, "user_id required"},
		"user null":                   {`{"user_id":null}`, "user_id type"},
		"user a number":               {`{"user_id":7}`, "user_id type"},
		"user empty":                  {`{"user_id":""}`, "user_id length"},
		"user of 129 bytes":           {`{"user_id":"` + strings.Repeat("u", 129) + `"}`, "user_id length"},
		"user of 300 characters":      {`{"user_id":"` + strings.Repeat("ü", 300) + `"}`, "user_id length"},
		"user with an escaped NUL":    {`{"user_id":"a\u0000b"}`, "user_id text"},
		"user with a line end":        {`{"user_id":"a\nb"}`, "user_id text"},
		"user with a C1 control":      {`{"user_id":"a\u0085b"}`, "user_id text"},
		"user with DEL":               {`{"user_id":"a\u007fb"}`, "user_id text"},
		"order empty":                 {`{"user_id":"u","order_id":""}`, "order_id length"},
		"order of 129 bytes":          {`{"user_id":"u","order_id":"` + strings.Repeat("o", 129) + `"}`, "order_id length"},
		"units 0":                     {`{"user_id":"u","units":0}`, "units range"},
		"units -0":                    {`{"user_id":"u","units":-0}`, "units range"},
		"units -1":                    {`{"user_id":"u","units":-1}`, "units range"},
		"units 1e3":                   {`{"user_id":"u","units":1e3}`, "units type"},
		"units 1.0":                   {`{"user_id":"u","units":1.0}`, "units type"},
		"units 1E400":                 {`{"user_id":"u","units":1E400}`, "units type"},
		"units 01":                    {`{"user_id":"u","units":01}`, "body json"},
		"units +1":                    {`{"user_id":"u","units":+1}`, "body json"},
		"units NaN":                   {`{"user_id":"u","units":NaN}`, "body json"},
		"units 2^53":                  {`{"user_id":"u","units":9007199254740992}`, "units range"},
		"units 2^63":                  {`{"user_id":"u","units":9223372036854775808}`, "units range"},
		"units 2^64+1":                {`{"user_id":"u","units":18446744073709551617}`, "units range"},
		"units of a thousand digits":  {`{"user_id":"u","units":` + strings.Repeat("9", 1000) + `}`, "units range"},
		"units a text":                {`{"user_id":"u","units":"1"}`, "units type"},
		"units true":                  {`{"user_id":"u","units":true}`, "units type"},
		"units null":                  {`{"user_id":"u","units":null}`, "units type"},
		"metadata a text":             {`{"user_id":"u","metadata":"{}"}`, "metadata type"},
		"metadata of 4097 bytes":      {`{"user_id":"u","metadata":{"a":"` + strings.Repeat("m", 4097-8) + `"}}`, "metadata length"},
		"a name that is itself large": {`{"user_id":"u","` + strings.Repeat("n", 50_000) + `":1}`, strings.Repeat("n", 100) + "… unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.call("POST", "/v1/offers/o/redemptions", c.body, aKey, "Content-Type: application/json").is(400, "invalid-request")
			if a.faults() != c.faults {
				t.Errorf("faults %q, want %q: %s", a.faults(), c.faults, a.Body)
			}
			if a.Body.Len() > 4<<10 {
				t.Errorf("an answer of %d bytes", a.Body.Len())
			}
		})
	}
	if w.desk.calls != 0 {
		t.Errorf("the allocator was called %d times", w.desk.calls)
	}
	w.call("GET", "/v1/offers/o/balance", "").is(200, "").has(map[string]any{"allocated": 0, "redeemed": 0})
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"`)
		b.WriteString(strings.Repeat("x", i+1))
		b.WriteString(`":1`)
	}
	return b.String()
}

func TestWhatIsJustWithinTheLimitsIsTaken(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for key, body := range map[string]string{
		"user":     `{"user_id":"` + strings.Repeat("ü", 64) + `"}`,
		"emoji":    `{"user_id":"\ud83c\udf81 \"quoted\" \\ \u0061"}`,
		"deep":     `{"user_id":"u","metadata":` + strings.Repeat(`{"a":`, 31) + "1" + strings.Repeat("}", 32),
		"brackets": `{"user_id":"u","metadata":{"a":"` + strings.Repeat(`[{\"`, 500) + `"}}`,
		"large":    `{"user_id":"u","metadata":{"a":"` + strings.Repeat("m", 4096-8) + `"}}`,
		"spaced":   `{"user_id":"u","metadata":{"a":` + strings.Repeat(" ", 60_000) + `1}}`,
		"escaped":  `{"user\u005fid":"u","metadata":{"nul":"\u0000"}}`,
	} {
		w.redeem("o", key, body)
	}
}

func TestMetadataComesBackAsItWas(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	const sent = `{"n":12345678901234567890.10,"z":1,"a":[true,null,"\u0000é"],"e":1e300}`
	id := w.redeem("o", "k", `{"user_id":"u","metadata": `+sent+` }`)
	if body := w.call("GET", "/v1/redemptions/"+id, "").Body.String(); !strings.Contains(body, `"metadata":`+sent) {
		t.Errorf("changed: %s", body)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	huge := `{"user_id":"` + strings.Repeat("u", 10<<20) + `"}`
	w.call("POST", "/v1/offers/o/redemptions", huge, aKey).is(413, "body-too-large").header("Connection", "close")
	w.call("POST", "/v1/offers", strings.Repeat(" ", 64<<10+1)).is(413, "body-too-large")

	unannounced := request("POST", "/v1/offers/o/redemptions", "", aKey, "Content-Type: application/json")
	source := &counter{Reader: strings.NewReader(huge)}
	unannounced.Body, unannounced.ContentLength = io.NopCloser(source), -1
	w.send(unannounced, huge).is(413, "body-too-large")
	if source.n > 128<<10 {
		t.Errorf("%d bytes were read", source.n)
	}
	if w.desk.calls != 0 {
		t.Error("the allocator was called")
	}
}

type counter struct {
	io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestABodyThatBreaksOff(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	r := request("POST", "/v1/offers/o/redemptions", "", aKey, "Content-Type: application/json")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"user_id":"u"`), brokenReader{}))
	r.ContentLength = 100
	w.send(r, "{}").is(400, "invalid-request")
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestOnlyJSONIsTaken(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	const body = `{"user_id":"u"}`
	for _, header := range []string{
		"-Content-Type", "Content-Type: ", "Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded",
		"Content-Type: multipart/form-data; boundary=x", "Content-Type: application/json; charset=latin1", "Content-Type: application/jsonp",
		"Content-Type: application/json, text/plain", "Content-Encoding: gzip",
	} {
		w.call("POST", "/v1/offers/o/redemptions", body, aKey, header).is(415, "unsupported-media-type")
		w.call("PATCH", "/v1/offers/o", `{}`, header).is(415, "unsupported-media-type")
		w.call("POST", "/v1/offers/o/pause", `{}`, header).is(415, "unsupported-media-type")
	}
	if w.desk.calls != 0 {
		t.Error("the allocator was called")
	}
	for key, header := range map[string]string{
		"a": "Content-Type: application/json; charset=utf-8", "b": "Content-Type: Application/JSON;charset=UTF-8", "c": "Content-Encoding: identity",
	} {
		w.call("POST", "/v1/offers/o/redemptions", body, "Idempotency-Key: "+key, header).is(201, "")
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for _, target := range []string{
		"/", "/v1", "/v1/", "/v1/offers/", "/v1/offers/o/", "//v1/offers", "/v1/offers/o/histories", "/v1/offers/o/recalls", "/v1/cart", "/v1/carts/",
		"/v1/audits", "/v1/redemptions/x/expire", "/favicon.ico", "/v1/offers/..", "/V1/offers", "/v1/offers/o/users/a/b",
	} {
		if target == "/v1/offers/.." {
			w.call("GET", target, "").is(400, "invalid-request") // an id of dots, not a way up
			continue
		}
		w.call("GET", target, "", "-Authorization").is(404, "route-not-found")
	}
	for _, method := range []string{"PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"} {
		a := w.call(method, "/v1/offers/o", "").is(405, "method-not-allowed")
		if allow := a.Header().Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "PATCH") {
			t.Errorf("Allow: %q", allow)
		}
	}
	w.call("GET", "/v1/offers/o/redemptions", "").is(405, "method-not-allowed").header("Allow", "POST")
}

func TestB11HeadIsAnsweredWhereGetIs(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	path := strings.NewReplacer("{offer}", "o", "{user}", "u", "{redemption}", w.redeem("o", "k", `{"user_id":"u"}`), "{cart}", strings.Repeat("a", 26))
	for _, r := range routes() {
		target := path.Replace(r.path)
		head := w.call("HEAD", target, "")
		if r.method != "GET" {
			continue
		}
		get := w.call("GET", target, "")
		if head.Code != get.Code || head.Header().Get("Content-Type") != get.Header().Get("Content-Type") {
			t.Errorf("HEAD %s: %d, and GET %d", r.path, head.Code, get.Code)
		}
		if r.path != "/metrics" && (head.Body.Len() > 0 || head.Header().Get("Content-Length") != fmt.Sprint(get.Body.Len())) {
			t.Errorf("HEAD %s: %v and a body of %d bytes, want the length %d", r.path, head.Header(), head.Body.Len(), get.Body.Len())
		}
	}
	if a := w.call("HEAD", "/v1/carts", ""); a.Code != 405 || a.Body.Len() > 0 {
		t.Errorf("where there is no GET: %d", a.Code)
	}
	if allow := w.call("PUT", "/v1/nodes", "").Header().Get("Allow"); !strings.Contains(allow, "HEAD") {
		t.Errorf("Allow: %q", allow)
	}
}

func TestUnknownQueryParametersAreRefused(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for _, target := range []string{
		"/v1/offers/o?x=1", "/v1/offers?offset=1", "/v1/offers/o/balance?at=now", "/v1/nodes?limit=0", "/v1/nodes?limit=1001", "/v1/nodes?limit=",
		"/v1/nodes?limit=-1", "/v1/nodes?limit=1e2", "/v1/nodes?limit=5&limit=6", "/v1/nodes?cursor=", "/v1/nodes?cursor=!", "/v1/nodes?cursor=bgAA",
		"/v1/nodes?limit=%zz", "/v1/nodes?a;b", "/v1/offers?status=Active", "/v1/offers?status=", "/v1/offers?q=" + strings.Repeat("q", 201),
		"/v1/redemptions?offer_id=", "/v1/redemptions?offer_id=a%20b", "/v1/redemptions?offer_id=o&order_id=%00",
		"/v1/redemptions?offer_id=o&idempotency_key=a%20b",
	} {
		w.call("GET", target, "").is(400, "invalid-request")
	}
	w.call("POST", "/v1/offers/o/redemptions?dry_run=true", `{"user_id":"u"}`, aKey).is(400, "invalid-request")
	if w.desk.calls != 0 {
		t.Error("the allocator was called")
	}
	w.call("GET", "/healthz?probe=1", "").is(200, "")
}

func FuzzBodies(f *testing.F) {
	f.Add([]byte(`{"user_id":"u","order_id":null,"units":1,"metadata":{"a":[1]}}`))
	f.Add([]byte(`{"user_id":"\ud83c\udf81","units":1e3}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, _ := gin.CreateTestContext(httptest.NewRecorder())
		x := &exchange{ctx: t.Context(), gin: c, http: httptest.NewRequest("POST", "/", bytes.NewReader(body))}
		x.http.Header.Set("Content-Type", "application/json")
		var o object
		if len(body) > maxBodyBytes || x.readObject(&o, true) != nil {
			return
		}
		user, metadata := o.subject("user_id", notNull), o.document("metadata", 4096)
		o.integer("units", notNull, 1, 10)
		if user.present && !isPlainText(user.value) {
			t.Errorf("taken: %q", user.value)
		}
		if len(metadata.value) > 4096 {
			t.Errorf("metadata of %d bytes", len(metadata.value))
		}
		_ = o.close()
	})
}
