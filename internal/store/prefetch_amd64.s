#include "textflag.h"

// func prefetchLines(addrs []uintptr)
TEXT ·prefetchLines(SB), NOSPLIT, $0-24
	MOVQ addrs_base+0(FP), AX
	MOVQ addrs_len+8(FP), CX

next:
	TESTQ CX, CX
	JZ    done
	MOVQ  (AX), BX
	PREFETCHT0 (BX)
	ADDQ  $8, AX
	DECQ  CX
	JMP   next

done:
	RET
