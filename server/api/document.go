package api

import (
	_ "embed"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"
)

//go:embed openapi.yaml
var openAPIYAML []byte // the contract, as people edit it; read only

// openAPI is the contract as JSON, with its members in the order of the file. It is made when it is first asked for.
var openAPI = sync.OnceValues(func() (jsontext.Value, error) {
	document, err := yaml.YAMLToJSON(openAPIYAML)
	if err != nil {
		return nil, err
	}
	text := jsontext.Value(document)
	err = text.Indent()
	return text, err
})

func (s *server) document(*exchange) (reply, error) {
	text, err := openAPI()
	return reply{encoded: text}, err
}
