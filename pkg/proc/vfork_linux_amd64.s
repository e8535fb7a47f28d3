#include "textflag.h"

// func vfork(flags uintptr) (pid, errno uintptr)
//
// The child returns from here first and calls on from its caller's frame, over
// the return address on the stack that both use: it waits in a register.
TEXT ·vfork(SB), NOSPLIT|NOFRAME, $0-24
	MOVQ  flags+0(FP), DI
	MOVQ  $0, SI // the stack: the caller's own
	MOVQ  $0, DX
	MOVQ  $0, R10
	MOVQ  $0, R8
	MOVQ  $56, AX // SYS_clone
	POPQ  R12
	SYSCALL
	PUSHQ R12
	CMPQ  AX, $0xfffffffffffff001
	JLS   ok
	NEGQ  AX
	MOVQ  $0, pid+8(FP)
	MOVQ  AX, errno+16(FP)
	RET

ok:
	MOVQ AX, pid+8(FP)
	MOVQ $0, errno+16(FP)
	RET
