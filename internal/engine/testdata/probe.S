.intel_syntax noprefix
.code16
.globl _start
_start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    lgdt [gdtr]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    .byte 0xea; .word pm, 8        /* jmp 8:pm */
.code32
pm: mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, 0x7c00
    pushfd
    push 8
    push offset pm2
    iretd
pm2:
    mov edi, 0x1000                /* page tables: one 2 MiB page */
    xor eax, eax
    mov ecx, 0xc00
    rep stosd
    mov dword ptr [0x1000], 0x2003
    mov dword ptr [0x2000], 0x3003
    mov dword ptr [0x3000], 0x83
    mov eax, cr4
    or eax, 0x20
    mov cr4, eax
    mov eax, 0x1000
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x100
    wrmsr
    mov eax, cr0
    or eax, 0x80000000
    mov cr0, eax
    .byte 0xea; .long lm; .word 24 /* jmp 24:lm */
.code64
lm: mov ax, 16
    mov ss, ax
    mov rsp, 0x7c00
    push 16
    push 0x7c00
    pushfq
    push 24
    push offset lm2
    iretq
lm2:
    mov dx, 0xf4
    mov al, 0x2a                   /* exit code (42<<1)|1 = 85 */
    out dx, al
1:  hlt
    jmp 1b
.align 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff
    .quad 0x00cf92000000ffff
    .quad 0x00af9a000000ffff
gdtr:
    .word 31
    .long gdt
.org 510
    .byte 0x55, 0xaa
