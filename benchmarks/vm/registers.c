/* For LD_PRELOAD: user-mode Linux 6.1 keeps a process's vector registers in a structure that is too small for CPUs with
   AVX-512 or AMX, and the host's kernel takes whole ones only: what it has no room for stays as it is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

long ptrace(enum __ptrace_request request, ...)
{
    static long (*real)(enum __ptrace_request, int, void *, void *);
    static char whole[65536];
    va_list arguments;
    va_start(arguments, request);
    int pid = va_arg(arguments, int);
    void *address = va_arg(arguments, void *), *data = va_arg(arguments, void *);
    va_end(arguments);
    if (!real)
        real = dlsym(RTLD_NEXT, "ptrace");
    if ((request != PTRACE_GETREGSET && request != PTRACE_SETREGSET) || (long)address != NT_X86_XSTATE)
        return real(request, pid, address, data);
    struct iovec *part = data, all = {whole, sizeof whole};
    long result = real(PTRACE_GETREGSET, pid, address, &all);
    if (result)
        return result;
    if (part->iov_len > all.iov_len)
        part->iov_len = all.iov_len;
    if (request == PTRACE_GETREGSET) {
        memcpy(part->iov_base, whole, part->iov_len);
        return 0;
    }
    memcpy(whole, part->iov_base, part->iov_len);
    return real(PTRACE_SETREGSET, pid, address, &all);
}
