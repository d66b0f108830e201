// Package resp is the bytes of the Redis serialization protocol, versions 2 and
// 3, and nothing else: it opens no connection, knows no command and no value.
//
//   - Parser cuts a request stream into commands without copying (parser.go,
//     inline.go). A server's connection owns one.
//   - The Append functions (append.go) and Writer (writer.go) build replies;
//     Writer knows which protocol its client speaks.
//   - Reader (reader.go) decodes replies into Reply values: the replication
//     handshake, MIGRATE, the tools and the tests are its users.
//   - AppendDouble (double.go) is the one way a double is turned into text.
//
// Every value here has one owner at a time; nothing starts goroutines.
package resp
