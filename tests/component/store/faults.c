/* Makes system calls on files below one directory fail: preloaded into the process under test, which arms it.
 *
 * fault_arm("fdatasync", EIO, 3, 1): the third fdatasync from now on fails with EIO, once. times -1: for ever.
 * fault_seen(): how many calls of that name were made since; fault_hit(): how many of them failed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char armed[32], below[PATH_MAX];
static int number, from, left, seen, hit;

void fault_below(const char *path) { snprintf(below, sizeof below, "%s", path); }
void fault_arm(const char *name, int error, int when, int times) {
    snprintf(armed, sizeof armed, "%s", name);
    number = error, from = when, left = times, seen = hit = 0;
}
void fault_disarm(void) { armed[0] = 0; }
int fault_seen(void) { return seen; }
int fault_hit(void) { return hit; }

static int due(const char *name) {
    if (strcmp(name, armed)) return 0;
    if (__atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) < from || left == 0) return 0;
    if (left > 0) left--;
    hit++;
    errno = number;
    return 1;
}

static int fails(const char *name, int fd) {
    char link[64], path[PATH_MAX];
    ssize_t length;
    if (!armed[0] || strcmp(name, armed)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return !strncmp(path, below, strlen(below)) && due(name);
}

static int fails_at(const char *name, const char *path) {
    return armed[0] && below[0] && !strncmp(path, below, strlen(below)) && due(name);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails("pwrite", fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return fails("pwrite", fd) ? -1 : REAL(pwrite)(fd, data, size, at);
}
ssize_t write(int fd, const void *data, size_t size) { return fails("write", fd) ? -1 : REAL(write)(fd, data, size); }
ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    return fails("pread", fd) ? -1 : REAL(pread64)(fd, data, size, at);
}
ssize_t pread(int fd, void *data, size_t size, off_t at) {
    return fails("pread", fd) ? -1 : REAL(pread)(fd, data, size, at);
}
ssize_t read(int fd, void *data, size_t size) { return fails("read", fd) ? -1 : REAL(read)(fd, data, size); }
int fsync(int fd) { return fails("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails("fsync", fd) ? -1 : REAL(fdatasync)(fd); }
int ftruncate64(int fd, off64_t size) { return fails("ftruncate", fd) ? -1 : REAL(ftruncate64)(fd, size); }
int ftruncate(int fd, off_t size) { return fails("ftruncate", fd) ? -1 : REAL(ftruncate)(fd, size); }
int fstat64(int fd, struct stat64 *found) { return fails("fstat", fd) ? -1 : REAL(fstat64)(fd, found); }
int fstat(int fd, struct stat *found) { return fails("fstat", fd) ? -1 : REAL(fstat)(fd, found); }
int unlink(const char *path) { return fails_at("unlink", path) ? -1 : REAL(unlink)(path); }
void *mmap64(void *where, size_t size, int protection, int flags, int fd, off64_t at) {
    return fd >= 0 && fails("mmap", fd) ? MAP_FAILED : REAL(mmap64)(where, size, protection, flags, fd, at);
}
void *mmap(void *where, size_t size, int protection, int flags, int fd, off_t at) {
    return fd >= 0 && fails("mmap", fd) ? MAP_FAILED : REAL(mmap)(where, size, protection, flags, fd, at);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    return fails_at("open", path) ? -1 : REAL(open64)(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    int mode = va_arg(more, int);
    va_end(more);
    return fails_at("open", path) ? -1 : REAL(open)(path, flags, mode);
}
