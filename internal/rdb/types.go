// Package rdb reads and writes the RDB format: snapshot files, the stream of a
// full synchronisation, and DUMP payloads. It knows every value type from the
// first one to those with hash field expiry, in the dialects of Redis and
// Valkey. It opens no files and owns no sockets: it is given an io.Reader or an
// io.Writer, and package disk or netio stand behind them.
//
// Reading is by pulling. A Reader hands out one event after another (Next); the
// event of a key comes with a Value, whose elements are pulled one by one, so
// that neither a file nor a big collection is ever held whole. Nothing that
// input announces is believed before the bytes have arrived.
//
// Writing is by appending. The Append functions build a key record or a DUMP
// payload in a caller's buffer; a Writer puts header, records and trailer on an
// io.Writer and keeps the checksum.
//
// Read types.go, encode.go, writer.go, source.go, reader.go, value.go, then
// object.go and build.go, the bridge to package store, load.go and parallel.go. No
// value here is safe for use by two goroutines at once; Load starts some of its own.
//
// Source of all layouts: the published descriptions of the RDB format and files
// made by redis-server 7.0.
package rdb

import "fmt"

// Versions of the format: the highest that is read, and the one that is written
// unless a value needs more. Version 10 with the types that AppendValue chooses
// is read by every server since Redis 7.0.
const (
	MaxVersion     = 12
	DefaultVersion = 10
)

// Type is the byte that says how a value is laid out.
type Type uint8

const (
	TypeString          Type = 0
	TypeList            Type = 1 // legacy
	TypeSet             Type = 2
	TypeZSetText        Type = 3 // legacy, scores as text
	TypeHash            Type = 4
	TypeZSet            Type = 5
	TypeModuleOld       Type = 6 // refused, as everywhere
	TypeModule          Type = 7
	TypeHashZipmap      Type = 9  // legacy
	TypeListZiplist     Type = 10 // legacy
	TypeSetIntset       Type = 11
	TypeZSetZiplist     Type = 12 // legacy
	TypeHashZiplist     Type = 13 // legacy
	TypeListQuicklist   Type = 14 // legacy, nodes are ziplists
	TypeStream1         Type = 15 // legacy
	TypeHashListpack    Type = 16
	TypeZSetListpack    Type = 17
	TypeListQuicklist2  Type = 18
	TypeStream2         Type = 19
	TypeSetListpack     Type = 20 // needs version 11
	TypeStream3         Type = 21 // needs version 11
	TypeHashTTLAbs      Type = 22 // only Redis 7.4 release candidates
	TypeHashListpackTTL Type = 23 // only Redis 7.4 release candidates
	TypeHashTTL         Type = 24 // needs version 12
	TypeHashListpackEx  Type = 25 // needs version 12
)

// Kind is what a value is to its user, whatever its layout.
type Kind uint8

const (
	KindNone Kind = iota // not a type we read
	KindString
	KindList
	KindSet
	KindZSet
	KindHash
	KindStream
	KindModule
)

// form is how the elements of a value are packed.
type form uint8

const (
	formPlain    form = iota // a count, then RDB strings and numbers
	formBlob                 // one string holding a compact encoding
	formNodes                // a count, then nodes, each a compact encoding
	formStream               // body of section "streams"
	formModule               // self-describing items
	formRejected             // known and refused
)

// typeInfo is one row of the table of value types.
type typeInfo struct {
	name string
	kind Kind
	form form
	pack packing // of the blob or of each node
}

// packing is the compact encoding of a blob.
type packing uint8

const (
	packNone packing = iota
	packListpack
	packIntset
	packZiplist
	packZipmap
)

var types = [...]typeInfo{
	TypeString:          {"string", KindString, formPlain, packNone},
	TypeList:            {"list", KindList, formPlain, packNone},
	TypeSet:             {"set", KindSet, formPlain, packNone},
	TypeZSetText:        {"zset", KindZSet, formPlain, packNone},
	TypeHash:            {"hash", KindHash, formPlain, packNone},
	TypeZSet:            {"zset2", KindZSet, formPlain, packNone},
	TypeModuleOld:       {"module-pre-ga", KindNone, formRejected, packNone},
	TypeModule:          {"module", KindModule, formModule, packNone},
	TypeHashZipmap:      {"hash-zipmap", KindHash, formBlob, packZipmap},
	TypeListZiplist:     {"list-ziplist", KindList, formBlob, packZiplist},
	TypeSetIntset:       {"set-intset", KindSet, formBlob, packIntset},
	TypeZSetZiplist:     {"zset-ziplist", KindZSet, formBlob, packZiplist},
	TypeHashZiplist:     {"hash-ziplist", KindHash, formBlob, packZiplist},
	TypeListQuicklist:   {"list-quicklist", KindList, formNodes, packZiplist},
	TypeStream1:         {"stream", KindStream, formStream, packNone},
	TypeHashListpack:    {"hash-listpack", KindHash, formBlob, packListpack},
	TypeZSetListpack:    {"zset-listpack", KindZSet, formBlob, packListpack},
	TypeListQuicklist2:  {"list-quicklist2", KindList, formNodes, packListpack},
	TypeStream2:         {"stream2", KindStream, formStream, packNone},
	TypeSetListpack:     {"set-listpack", KindSet, formBlob, packListpack},
	TypeStream3:         {"stream3", KindStream, formStream, packNone},
	TypeHashTTLAbs:      {"hash-ttl-pre-ga", KindHash, formPlain, packNone},
	TypeHashListpackTTL: {"hash-listpack-ttl-pre-ga", KindHash, formBlob, packListpack},
	TypeHashTTL:         {"hash-ttl", KindHash, formPlain, packNone},
	TypeHashListpackEx:  {"hash-listpack-ttl", KindHash, formBlob, packListpack},
}

// info returns the row of a type; an unknown type has kind KindNone.
func (t Type) info() typeInfo {
	if int(t) < len(types) {
		return types[t]
	}
	return typeInfo{}
}

// Kind tells what a value of this type is, KindNone if it cannot be read.
func (t Type) Kind() Kind { return t.info().kind }

func (t Type) String() string {
	if n := t.info().name; n != "" {
		return n
	}
	return fmt.Sprintf("type-%d", uint8(t))
}

func (k Kind) String() string {
	switch k {
	case KindString:
		return "string"
	case KindList:
		return "list"
	case KindSet:
		return "set"
	case KindZSet:
		return "zset"
	case KindHash:
		return "hash"
	case KindStream:
		return "stream"
	case KindModule:
		return "module"
	}
	return "none"
}

// Opcodes: the bytes that may stand where a value type is expected.
const (
	opSlotInfo     = 0xf4 // 244 len(slot) len(keys) len(expiring keys)
	opFunction2    = 0xf5 // 245 str(source)
	opFunctionOld  = 0xf6 // 246 refused
	opModuleAux    = 0xf7 // 247
	opIdle         = 0xf8 // 248 len(seconds)
	opFreq         = 0xf9 // 249 u8
	opAux          = 0xfa // 250 str(name) str(value)
	opResizeDB     = 0xfb // 251 len(keys) len(expiring keys)
	opExpireMs     = 0xfc // 252 i64 LE
	opExpireSec    = 0xfd // 253 i32 LE
	opSelectDB     = 0xfe // 254 len(db)
	opEOF          = 0xff // 255
	firstOpcode    = opSlotInfo
	maxFieldTTLMs  = 1<<48 - 1 // largest expiry of a hash field
	footerLen      = 10        // of a DUMP payload: version u16, CRC u64
	trailerVersion = 5         // first version whose file ends in a checksum
)

// Length encoding, first byte: 00xxxxxx 6 bits, 01xxxxxx 14 bits with the next
// byte, 0x80 u32 BE, 0x81 u64 BE, 11kkkkkk a string in special form k.
const (
	len14    = 0x40
	len32    = 0x80
	len64    = 0x81
	special  = 0xc0
	strInt8  = special | 0
	strInt16 = special | 1
	strInt32 = special | 2
	strLZF   = special | 3
)
