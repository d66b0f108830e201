package datatypes

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/skeindb/skein/internal/command"
)

// commandFacts are what COMMAND INFO and DOCS of redis-server 7.0.15 say about a
// command, as in testdata/commands-7.0.json.
type commandFacts struct {
	Arity int      `json:"arity"`
	Flags []string `json:"flags"`
	Range [3]int   `json:"range"`
	ACL   []string `json:"acl"`
	Tips  []string `json:"tips"`
	Since string   `json:"since"`
	Group string   `json:"group"`
	Keys  []struct {
		Flags []string `json:"flags"`
		Begin struct {
			Type string `json:"type"`
			Spec struct {
				Index     int    `json:"index"`
				Keyword   string `json:"keyword"`
				StartFrom int    `json:"startfrom"`
			} `json:"spec"`
		} `json:"begin_search"`
		Find struct {
			Type string `json:"type"`
			Spec struct {
				LastKey   int `json:"lastkey"`
				KeyStep   int `json:"keystep"`
				Limit     int `json:"limit"`
				KeyNumIdx int `json:"keynumidx"`
				FirstKey  int `json:"firstkey"`
			} `json:"spec"`
		} `json:"find_keys"`
	} `json:"keys"`
}

// factsOf derives the same facts from a literal.
func factsOf(s *command.Spec) (f commandFacts) {
	sorted := func(s []string) []string { return slices.Sorted(slices.Values(s)) }
	f.Arity, f.Since, f.Group = s.Arity, s.Since, s.Group.String()
	f.Flags, f.ACL, f.Tips = sorted(s.Flags.Names()), sorted(s.ACLCategories()), sorted(s.Tips)
	first, last, step := s.InfoRange()
	f.Range = [3]int{first, last, step}
	f.Keys = slices.Grow(f.Keys, len(s.Keys))[:len(s.Keys)]
	for i, k := range s.Keys {
		to := &f.Keys[i]
		to.Flags = k.Flags.Names()
		switch {
		case k.Unknown:
			to.Begin.Type, to.Find.Type = "unknown", "unknown"
			continue
		case k.Keyword != "":
			to.Begin.Type, to.Begin.Spec.Keyword, to.Begin.Spec.StartFrom = "keyword", k.Keyword, k.StartFrom
		default:
			to.Begin.Type, to.Begin.Spec.Index = "index", k.Index
		}
		if k.KeyNum {
			to.Find.Type, to.Find.Spec.KeyNumIdx, to.Find.Spec.FirstKey, to.Find.Spec.KeyStep = "keynum", k.NumIdx, k.First, k.Step
		} else {
			to.Find.Type, to.Find.Spec.LastKey, to.Find.Spec.KeyStep, to.Find.Spec.Limit = "range", k.Last, k.Step, k.Limit
		}
	}
	return f
}

// Every literal states the facts that Redis 7.0 states, since clients and
// proxies route by them. Commands that came with 7.2 have none to compare.
func TestSpecsAgreeWithRedis(t *testing.T) {
	b, err := os.ReadFile("testdata/commands-7.0.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string]commandFacts
	if err := json.Unmarshal(b, &golden); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, s := range command.NewTable(Specs()).All() {
		want, ok := golden[s.Full]
		if !ok {
			if s.Since < "7.2" {
				t.Errorf("%s: not in the golden file, though since %s", s.Full, s.Since)
			}
			continue
		}
		compared++
		if s.Name == "zrank" || s.Name == "zrevrank" {
			want.Arity = -3 // WITHSCORE came with 7.2
		}
		if s.Summary == "" || s.Complexity == "" {
			t.Errorf("%s: no summary or complexity", s.Full)
		}
		got := factsOf(s)
		for i := range got.Keys { // empty and nil are the same here
			slices.Sort(got.Keys[i].Flags)
			slices.Sort(want.Keys[i].Flags)
		}
		if a, b := norm(got), norm(want); !reflect.DeepEqual(a, b) {
			for _, k := range slices.Sorted(maps.Keys(a)) {
				if !reflect.DeepEqual(a[k], b[k]) {
					t.Errorf("%s: %s is\n     %v, want\n     %v", s.Full, k, a[k], b[k])
				}
			}
		}
	}
	if compared < 59 {
		t.Errorf("compared %d commands only", compared)
	}
}

// norm makes facts comparable field by field.
func norm(f commandFacts) map[string]any {
	b, _ := json.Marshal(f)
	var m map[string]any
	json.Unmarshal(b, &m)
	for k, v := range m {
		if l, ok := v.([]any); v == nil || ok && len(l) == 0 {
			delete(m, k)
		}
	}
	return m
}
