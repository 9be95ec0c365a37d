package api

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

func document(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPIYAML)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestTheDocumentIsValidWithItsExamples(t *testing.T) {
	if err := document(t).Validate(t.Context(), openapi3.EnableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
}

func TestTheDocumentAndTheRouteTableListTheSameOperations(t *testing.T) {
	documented := map[string]*openapi3.Operation{}
	for path, item := range document(t).Paths.Map() {
		for method, operation := range item.Operations() {
			documented[method+" "+path] = operation
		}
	}
	var registered []string
	for _, r := range routes() {
		name := r.method + " " + r.path
		registered = append(registered, name)
		operation := documented[name]
		if operation == nil {
			t.Errorf("%s is served and not documented", name)
			continue
		}
		if got := documentedScope(t, operation); got != r.scope {
			t.Errorf("%s: documented for scope %d, served for %d", name, got, r.scope)
		}
		if (operation.Responses.Status(http.StatusConflict) != nil) != r.is(writes) {
			t.Errorf("%s: only what writes can conflict", name)
		}
	}
	for name := range documented {
		if !slices.Contains(registered, name) {
			t.Errorf("%s is documented and not served", name)
		}
	}
}

func documentedScope(t *testing.T, o *openapi3.Operation) scope {
	t.Helper()
	if o.Security == nil {
		t.Fatalf("%s has no security", o.OperationID)
	}
	var names []string
	for _, requirement := range *o.Security {
		names = append(names, strings.Join(slices.Collect(maps.Keys(requirement)), "+"))
	}
	slices.Sort(names)
	switch strings.Join(names, " ") {
	case "":
		if len(names) == 0 {
			return scopeOpen
		}
	case "adminKey":
		return scopeAdmin
	case "adminKey checkoutKey":
		return scopeCheckout
	case " adminKey checkoutKey":
		return scopeLocal
	}
	t.Fatalf("%s: security %q", o.OperationID, names)
	return 0
}

func enum(t *testing.T, schema *openapi3.Schema) []string {
	t.Helper()
	var list []string
	for _, v := range schema.Enum {
		list = append(list, v.(string))
	}
	slices.Sort(list)
	return list
}

func TestTheDocumentNamesAllProblems(t *testing.T) {
	want := []string{"/problems/internal"}
	for _, m := range meanings {
		want = append(want, "/problems/"+m.name)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if got := enum(t, document(t).Components.Schemas["ProblemType"].Value); !slices.Equal(got, want) {
		t.Errorf("documented %v\nanswered %v", got, want)
	}
}

func TestTheDocumentNamesAllRules(t *testing.T) {
	want := []string{
		ruleRequired, ruleUnknown, ruleReadOnly, ruleRepeated, ruleType, ruleJSON, ruleRange, ruleLength, ruleText, ruleFormat,
		ruleEnum, ruleOrder, ruleDepth,
	}
	slices.Sort(want)
	fault := document(t).Components.Schemas["Fault"].Value
	if got := enum(t, fault.Properties["rule"].Value); !slices.Equal(got, want) {
		t.Errorf("documented %v\nanswered %v", got, want)
	}
}

func TestRequestsAreClosed(t *testing.T) {
	for _, name := range []string{"NewOffer", "OfferChange", "NewRedemption", "NewConfirmation", "NewCancellation", "NewCart", "NewCartItem", "NewRefund", "NewCartRefund", "Reason"} {
		schema := document(t).Components.Schemas[name].Value
		if has := schema.AdditionalProperties.Has; has == nil || *has {
			t.Errorf("%s allows unknown members", name)
		}
	}
}

func TestTheDocumentIsServed(t *testing.T) {
	w := newWorld(t)
	a := w.call("GET", "/openapi.json", "", "-Authorization").is(200, "").header("Content-Type", "application/json")
	served, err := openapi3.NewLoader().LoadFromData(a.Body.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := served.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	want, err := document(t).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Error("another document is served")
	}
	if !strings.HasPrefix(a.Body.String(), "{\n\t\"openapi\"") {
		t.Errorf("it is not in the order of the file: %.40s", a.Body)
	}
}
