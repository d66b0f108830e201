package command

// Error replies that several commands share, without the leading dash. The
// text is documented, and clients match on it.
const (
	ErrWrongType     = "WRONGTYPE Operation against a key holding the wrong kind of value"
	ErrSyntax        = "ERR syntax error"
	ErrNotInteger    = "ERR value is not an integer or out of range"
	ErrNotFloat      = "ERR value is not a valid float"
	ErrNoSuchKey     = "ERR no such key"
	ErrIndexRange    = "ERR index out of range"
	ErrOffset        = "ERR offset is out of range"
	ErrOverflow      = "ERR increment or decrement would overflow"
	ErrNaN           = "ERR increment would produce NaN or Infinity"
	ErrTimeout       = "ERR timeout is not a float or out of range"
	ErrTimeoutNeg    = "ERR timeout is negative"
	ErrTooLong       = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
	ErrOutOfRange    = "ERR value is out of range"
	ErrMustPositive  = "ERR value is out of range, must be positive"
	ErrDBIndex       = "ERR DB index is out of range"
	ErrInvalidDB     = "ERR invalid DB index"
	ErrSameObject    = "ERR source and destination objects are the same"
	ErrNoCluster     = "ERR This instance has cluster support disabled"
	ErrBadSlot       = "ERR Invalid or out of range slot"
	ErrCrossSlot     = "CROSSSLOT Keys in request don't hash to the same slot"
	ErrUnblocked     = "UNBLOCKED client unblocked via CLIENT UNBLOCK"
	ErrUnblockedRole = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"
)

// WrongArity is the reply to a wrong number of arguments.
func WrongArity(full string) string {
	return "ERR wrong number of arguments for '" + full + "' command"
}

// InvalidExpire is the reply to an expiry that is out of range.
func InvalidExpire(name string) string {
	return "ERR invalid expire time in '" + name + "' command"
}
