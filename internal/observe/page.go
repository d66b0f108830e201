package observe

import (
	"html/template"
	"net/http"
	"strings"
	"time"
)

// Handler serves /metrics for Prometheus and / for people. Neither shows keys or
// values, but for the arguments in the slow log.
func (ob *Observer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Write(ob.Metrics())
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		if err := page.Execute(w, ob.pageData()); err != nil {
			return // the client is gone
		}
	})
	return mux
}

type pageSection struct {
	Title string
	Rows  [][2]string
}

type pageSlow struct {
	At     string
	Micros int64
	Args   string
	Addr   string
}

type pageData struct {
	Title    string
	Figures  [][2]string
	Sections []pageSection
	Slow     []pageSlow
}

func (ob *Observer) pageData() (d pageData) {
	info := ob.Info([]string{"default"}, false)
	if ob.o.ClusterInfo != nil {
		info = strings.Replace(info, "cluster_enabled:1\r\n", "cluster_enabled:1\r\n"+ob.o.ClusterInfo(), 1)
	}
	fields := map[string]string{}
	for _, line := range strings.Split(info, "\r\n") {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			d.Sections = append(d.Sections, pageSection{Title: title})
			continue
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields[name] = value
			s := &d.Sections[len(d.Sections)-1]
			s.Rows = append(s.Rows, [2]string{name, value})
		}
	}
	d.Title = "Skein " + fields["role"] + " on port " + fields["tcp_port"]
	d.Figures = [][2]string{
		{"operations per second", fields["instantaneous_ops_per_sec"]},
		{"memory used", fields["used_memory_human"]},
		{"resident", fields["used_memory_rss_human"]},
		{"clients", fields["connected_clients"]},
		{"replicas", fields["connected_slaves"]},
	}
	if state := fields["cluster_state"]; state != "" {
		d.Figures = append(d.Figures, [2]string{"cluster", state})
	}
	for _, e := range ob.Slow.last(10) {
		args := strings.Join(e.args, " ")
		d.Slow = append(d.Slow, pageSlow{time.Unix(e.at, 0).UTC().Format(time.DateTime), e.micros, args[:min(len(args), 200)], e.addr})
	}
	return d
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>{{.Title}}</title>
<style>
body{font:14px/1.4 system-ui,sans-serif;margin:2em;color:#222;background:#fafafa}
h1{font-size:1.4em} h2{font-size:1em;margin:1.5em 0 .3em}
.figures{display:flex;flex-wrap:wrap;gap:1em}.figures div{background:#fff;border:1px solid #ddd;border-radius:6px;padding:.8em 1.2em}
.figures b{display:block;font-size:1.5em}
table{border-collapse:collapse;background:#fff}td,th{border:1px solid #ddd;padding:.15em .6em;text-align:left;font-family:ui-monospace,monospace;font-size:12px}
</style></head><body>
<h1>{{.Title}}</h1>
<div class="figures">{{range .Figures}}<div><b>{{index . 1}}</b>{{index . 0}}</div>{{end}}</div>
{{if .Slow}}<h2>Slow commands</h2><table><tr><th>UTC</th><th>µs</th><th>command</th><th>client</th></tr>
{{range .Slow}}<tr><td>{{.At}}</td><td>{{.Micros}}</td><td>{{.Args}}</td><td>{{.Addr}}</td></tr>{{end}}</table>{{end}}
{{range .Sections}}{{if .Rows}}<details{{if eq .Title "Replication" "Cluster" "Keyspace"}} open{{end}}><summary><b>{{.Title}}</b></summary>
<table>{{range .Rows}}<tr><td>{{index . 0}}</td><td>{{index . 1}}</td></tr>{{end}}</table></details>{{end}}{{end}}
</body></html>
`))
