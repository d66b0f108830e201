package mixed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/skeindb/skein/internal/cluster"
	"github.com/skeindb/skein/internal/testport"
	"github.com/skeindb/skein/test/forged"
	"github.com/skeindb/skein/test/proc"
)

// selfSigned writes a certificate that is its own authority, for all nodes, and
// returns the directives that use it.
func selfSigned(t *testing.T) []string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bus"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	crt, pk := filepath.Join(t.TempDir(), "crt"), filepath.Join(t.TempDir(), "key")
	for path, b := range map[string]*pem.Block{crt: {Type: "CERTIFICATE", Bytes: der}, pk: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--tls-cert-file", crt, "--tls-key-file", pk, "--tls-ca-cert-file", crt}
}

// Row 15. Skein and real nodes form a cluster whose bus and replication speak TLS,
// each follows the other, and a bus port takes neither plain bytes nor TLS without a
// certificate.
func TestMixedTLS(t *testing.T) {
	t.Parallel()
	forEach(t, func(t *testing.T, r proc.Real) {
		skein, real := proc.Skein(t), r.Program(t)
		args := append(selfSigned(t), "--tls-cluster", "yes", "--tls-replication", "yes")
		var nodes []*proc.Node
		var ports []int // TLS
		for i, p := range []proc.Program{skein, real, skein, real} {
			ports = append(ports, testport.Free(t))
			n := proc.StartNode(t, p, proc.ClusterArgs(append(args, "--tls-port", strconv.Itoa(ports[i]))...)...)
			n.Must("CLUSTER", "SET-CONFIG-EPOCH", i+1)
			nodes = append(nodes, n)
		}
		nodes[0].Must("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
		nodes[1].Must("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
		for _, port := range ports[1:] {
			nodes[0].Must("CLUSTER", "MEET", "127.0.0.1", port)
		}
		proc.WaitKnown(t, 4, nodes...)
		follow(t, nodes[3], nodes[0])
		follow(t, nodes[2], nodes[1])
		stateOK(t, nodes...)
		nodes[0].WaitSet("b", "1")
		nodes[1].WaitSet("foo", "2")
		inStep(t, nodes[0], nodes[3])
		inStep(t, nodes[1], nodes[2])
		failoverBy(t, nodes[3], nodes[0], nodes[1])
		failoverBy(t, nodes[2], nodes[1], nodes[3])

		meet := cluster.Encode(nil, &cluster.Message{Type: cluster.TypeMeet, Sender: forged.ID("f"), Port: 1, BusPort: 2, Flags: cluster.FlagPrimary})
		for i, n := range nodes {
			addr := fmt.Sprintf("127.0.0.1:%d", ports[i]+10000)
			for how, dial := range map[string]func() (net.Conn, error){
				"plain": func() (net.Conn, error) { return net.Dial("tcp", addr) },
				"without a certificate": func() (net.Conn, error) {
					return tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
				},
			} {
				conn, err := dial()
				if err != nil {
					continue // refused at once
				}
				conn.SetDeadline(time.Now().Add(proc.Patience))
				conn.Write(meet)
				answer, err := io.ReadAll(conn)
				if e, ok := err.(net.Error); ok && e.Timeout() {
					t.Errorf("%s: %s bytes: the connection is not closed", n, how)
				}
				if len(answer) > 100 { // an alert of TLS is shorter than any PONG
					t.Errorf("%s: %s bytes were answered: %q", n, how, answer)
				}
				conn.Close()
			}
			if peers, err := n.Peers(); err != nil || len(peers) != 4 {
				t.Errorf("%s knows %v, %v", n, peers, err)
			}
		}
	})
}
