package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"labctl/internal/artifact"
)

const schemaFile = "../../docs/report.schema.json"

func schema(t testing.TB, file string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, data []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestSchema(t *testing.T) {
	s := schema(t, schemaFile)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/runs")); err != nil {
		t.Fatal(err)
	}
	hostile(t, filepath.Join(dir, "hostile"))
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "empty", "labctl.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lb", "ping", "subnet", "quorum", "create", "hostile", "empty"} {
		run := filepath.Join(dir, name)
		if err := Write(run); err != nil {
			t.Fatal(err)
		}
		if err := valid(t, s, read(t, filepath.Join(run, JSONName))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The schema can say no.
	for _, bad := range []string{`{}`, `{"schema":2}`} {
		if valid(t, s, []byte(bad)) == nil {
			t.Errorf("%s is valid", bad)
		}
	}
}

// A report in which nothing is empty fits the schema, and has every key of it.
func TestSchemaIsWhole(t *testing.T) {
	var r Report
	fill(reflect.ValueOf(&r).Elem())
	r.Schema = Schema
	for i := range r.Steps {
		r.Steps[i].State = "done"
	}
	data, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	whole(t, schemaFile, data)
}

// The manifests of real runs fit their schema, and it has every key.
func TestManifestSchema(t *testing.T) {
	const file = "../../docs/manifest.schema.json"
	s := schema(t, file)
	for _, name := range []string{"lb", "ping", "subnet", "quorum", "create"} {
		if err := valid(t, s, read(t, filepath.Join("testdata/runs", name, manifestName))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var m artifact.Manifest
	fill(reflect.ValueOf(&m).Elem())
	m.Schema, m.Files[0].SHA256 = artifact.Schema, strings.Repeat("0", 64)
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, file, data)
	if valid(t, s, []byte(`{"schema":1}`)) == nil {
		t.Error("the schema cannot say no")
	}
}

// whole compares a value in which nothing is empty with a schema, which must
// have the same keys.
func whole(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := valid(t, schema(t, file), data); err != nil {
		t.Error(err)
	}
	var doc, value any
	for text, to := range map[string]*any{string(read(t, file)): &doc, string(data): &value} {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			t.Fatal(err)
		}
	}
	inSchema, inValue := map[string]bool{}, map[string]bool{}
	keys(doc, inSchema, true)
	keys(value, inValue, false)
	if d := cmp.Diff(inValue, inSchema); d != "" {
		t.Errorf("%s: keys (-the code's +the schema's):\n%s", file, d)
	}
}

// keys collects the names of properties, of a schema or of a value.
func keys(v any, into map[string]bool, schema bool) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			keys(x, into, schema)
		}
	case map[string]any:
		props, ok := v["properties"].(map[string]any)
		if schema && ok {
			for k := range props {
				into[k] = true
			}
		}
		for k, x := range v {
			if !schema && k != "key of a map" {
				into[k] = true
			}
			keys(x, into, schema)
		}
	}
}

// fill puts something into every field.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"key of a map": "x"}))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Float64:
		v.SetFloat(1)
	default:
		panic("nothing to fill in: " + strings.ToLower(v.Kind().String()))
	}
}
