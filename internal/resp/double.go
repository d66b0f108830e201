package resp

import (
	"math"
	"strconv"
)

// AppendInt appends n in decimal.
func AppendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// AppendDouble appends f as Redis 7.2 and later print a double, in replies of
// either protocol and where a command stores one as text: the shortest digits
// that read back as f, in one of these forms.
//
//	inf, -inf, nan, 0, -0   the special values
//	-12, 4000000            whole numbers up to 2^62
//	12345678901234567000    larger ones while fewer than 8 zeros are appended
//	0.00001, 3.25           up to 6 decimals, any number of them from 0.0001 to 9999.99…
//	1e-7, 1.5e+300          all others; the exponent has a sign, no leading zeros
//
// (Redis 7.0 printed 17 digits, "%.17g".)
func AppendDouble(dst []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "nan"...)
	case math.IsInf(f, 1):
		return append(dst, "inf"...)
	case math.IsInf(f, -1):
		return append(dst, "-inf"...)
	case f == 0:
		if math.Signbit(f) {
			return append(dst, "-0"...)
		}
		return append(dst, '0')
	case math.Abs(f) <= 1<<62 && float64(int64(f)) == f:
		return strconv.AppendInt(dst, int64(f), 10)
	}
	if f < 0 {
		dst = append(dst, '-')
		f = -f
	}

	// f = 0.digits * 10^point, from the form d.ddde±x.
	var tmp [32]byte
	sci := strconv.AppendFloat(tmp[:0], f, 'e', -1, 64)
	digits, e := sci[:1], 1
	if sci[1] == '.' {
		for e = 2; sci[e] != 'e'; e++ {
		}
		sci[1] = sci[0]
		digits = sci[1:e]
	}
	exp := 0
	for _, c := range sci[e+2:] {
		exp = exp*10 + int(c-'0')
	}
	abs := exp
	if sci[e+1] == '-' {
		exp = -exp
	}
	n := len(digits)
	decimals := n - 1 - exp // digits right of the point; negative: zeros to append

	switch {
	case decimals <= 0 && abs < n+7:
		dst = append(dst, digits...)
		for ; decimals < 0; decimals++ {
			dst = append(dst, '0')
		}
		return dst
	case decimals > 0 && (decimals < 7 || abs < 4):
		if decimals < n {
			dst = append(dst, digits[:n-decimals]...)
			dst = append(dst, '.')
			return append(dst, digits[n-decimals:]...)
		}
		dst = append(dst, '0', '.')
		for ; decimals > n; decimals-- {
			dst = append(dst, '0')
		}
		return append(dst, digits...)
	}
	dst = append(dst, digits[0])
	if n > 1 {
		dst = append(dst, '.')
		dst = append(dst, digits[1:]...)
	}
	dst = append(dst, 'e', '+')
	if exp < 0 {
		dst[len(dst)-1] = '-'
	}
	return strconv.AppendInt(dst, int64(abs), 10)
}
