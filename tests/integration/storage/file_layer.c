// SPDX-License-Identifier: Apache-2.0
/* Between a program and the C library: makes one file call fail, and logs what reaches the disk.
 *
 * Loaded by LD_PRELOAD, so that SQLite's calls pass through it as Python's do. It does nothing until
 * `file_layer_arm`. From then on each call that changes a file below a folder is counted: open with
 * O_CREAT, write, pwrite, fsync, fdatasync, ftruncate, truncate, rename, unlink, rmdir, mkdir, chmod
 * and their variants. One of them, by its number, fails as a disk would. A successful one is appended
 * to a log, with its bytes, for the reconstruction of what a power cut leaves.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, MARK, FAULT };
enum { NONE, NO_SPACE, IO_ERROR, INTERRUPTED, SHORT, FULL };

struct record {
    uint32_t kind, path_bytes, other_bytes, data_bytes;
    uint64_t inode;
    int64_t offset;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_bytes;
static int log_file = -1, fault = NONE;
static long count, nth;

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static void append(int kind, uint64_t inode, int64_t offset, const char *path, const char *other,
                   const void *data, size_t bytes) {
    struct record head = {kind, strlen(path), strlen(other), bytes, inode, offset};
    if (log_file < 0) return;
    syscall(SYS_write, log_file, &head, sizeof head);
    syscall(SYS_write, log_file, path, head.path_bytes);
    syscall(SYS_write, log_file, other, head.other_bytes);
    for (size_t done = 0; done < bytes;) {
        long taken = syscall(SYS_write, log_file, (const char *)data + done, bytes - done);
        if (taken <= 0) abort();
        done += taken;
    }
}

/* Arms the layer: call number `number` below `folder` fails by `kind`. */
void file_layer_arm(const char *folder, const char *log, long number, int kind) {
    snprintf(root, sizeof root, "%s/", folder);
    root_bytes = strlen(root);
    log_file = *log ? syscall(SYS_openat, AT_FDCWD, log,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    count = 0;
    nth = number;
    fault = kind;
}

void file_layer_disarm(void) { root_bytes = 0; }

long file_layer_count(void) { return count; }

/* Notes in the log that the program has promised something. */
void file_layer_mark(int64_t number) {
    pthread_mutex_lock(&lock);
    append(MARK, 0, number, "", "", "", 0);
    pthread_mutex_unlock(&lock);
}

static int is_below(const char *path) { return root_bytes && !strncmp(path, root, root_bytes); }

/* The absolute path of a call; without links in its folder, as those of descriptors. */
static int path_of(int folder, const char *path, char *out) {
    char link[64];
    if (!root_bytes) return 0;
    if (*path == '/') {
        snprintf(out, PATH_MAX, "%s", path);
    } else {
        char base[PATH_MAX];
        snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
        ssize_t bytes = readlink(link, base, sizeof base - 1);
        if (bytes < 0) return 0;
        base[bytes] = 0;
        if (snprintf(out, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return 0;
    }
    return is_below(out);
}

static int path_of_file(int file, char *out) {
    char link[64];
    if (!root_bytes) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t bytes = readlink(link, out, PATH_MAX - 1);
    if (bytes < 0) return 0;
    out[bytes] = 0;
    /* The folder itself, when it is synced. */
    return is_below(out) || (!strncmp(out, root, root_bytes - 1) && !out[root_bytes - 1]);
}

static uint64_t inode_of(int file) {
    struct stat status;
    return fstat(file, &status) ? 0 : status.st_ino;
}

/* Counts a call; whether it fails. A short write is no failure of the call itself; a signal
 * interrupts no change of a folder. */
static int fails(const char *path, int is_interruptible) {
    count++;
    int due = fault == FULL ? nth > 0 && count >= nth : count == nth;
    if (!due || fault == NONE || (fault == INTERRUPTED && !is_interruptible)) return 0;
    append(FAULT, 0, count, path, "", "", 0);
    if (fault == SHORT) return -1;
    errno = fault == IO_ERROR ? EIO : fault == INTERRUPTED ? EINTR : ENOSPC;
    return 1;
}

#define BEGIN(known) \
    char path[PATH_MAX]; \
    if (!(known)) goto direct; \
    pthread_mutex_lock(&lock);
#define END(value) \
    int kept = errno; \
    pthread_mutex_unlock(&lock); \
    errno = kept; \
    return value;

static int opened(int folder, const char *name, int flags, mode_t mode) {
    BEGIN((flags & O_CREAT) && path_of(folder, name, path))
    struct stat status;
    int is_new = fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) != 0;
    int file = -1;
    if (fails(path, 1) <= 0) {
        file = syscall(SYS_openat, folder, name, flags, mode);
        if (file >= 0 && is_new) append(CREATE, inode_of(file), 0, path, "", "", 0);
        if (file >= 0 && !is_new && flags & O_TRUNC)
            append(TRUNCATE, inode_of(file), 0, path, "", "", 0);
    }
    END(file)
direct:
    return syscall(SYS_openat, folder, name, flags, mode);
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }

int open(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE return opened(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE return opened(folder, name, flags, mode); }

static ssize_t written(int file, const void *data, size_t bytes, off_t offset, int is_positioned) {
    BEGIN(path_of_file(file, path))
    ssize_t taken = -1;
    int failure = fails(path, 1);
    if (failure <= 0) {
        size_t some = failure < 0 && bytes > 1 ? bytes / 2 : bytes;
        if (!is_positioned) {
            off_t end = fcntl(file, F_GETFL) & O_APPEND ? lseek(file, 0, SEEK_END) : 0;
            offset = end ? end : lseek(file, 0, SEEK_CUR);
        }
        taken = is_positioned ? syscall(SYS_pwrite64, file, data, some, offset)
                              : syscall(SYS_write, file, data, some);
        if (taken > 0) append(WRITE, inode_of(file), offset, path, "", data, taken);
    }
    END(taken)
direct:
    return is_positioned ? syscall(SYS_pwrite64, file, data, bytes, offset)
                         : syscall(SYS_write, file, data, bytes);
}

ssize_t write(int file, const void *data, size_t bytes) { return written(file, data, bytes, 0, 0); }
ssize_t pwrite(int file, const void *data, size_t bytes, off_t at) { return written(file, data, bytes, at, 1); }
ssize_t pwrite64(int file, const void *data, size_t bytes, off64_t at) { return written(file, data, bytes, at, 1); }

static int synced(int file, int call) {
    BEGIN(path_of_file(file, path))
    int done = -1;
    if (fails(path, 1) <= 0) {
        done = syscall(call, file);
        if (!done) append(SYNC, inode_of(file), 0, path, "", "", 0);
    }
    END(done)
direct:
    return syscall(call, file);
}

int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

static int truncated(int file, off_t size) {
    BEGIN(path_of_file(file, path))
    int done = -1;
    if (fails(path, 1) <= 0) {
        done = syscall(SYS_ftruncate, file, size);
        if (!done) append(TRUNCATE, inode_of(file), size, path, "", "", 0);
    }
    END(done)
direct:
    return syscall(SYS_ftruncate, file, size);
}

int ftruncate(int file, off_t size) { return truncated(file, size); }
int ftruncate64(int file, off64_t size) { return truncated(file, size); }

static int truncated_by_name(const char *name, off_t size) {
    BEGIN(path_of(AT_FDCWD, name, path))
    int done = -1;
    if (fails(path, 1) <= 0) {
        struct stat status;
        done = syscall(SYS_truncate, name, size);
        if (!done && !stat(name, &status)) append(TRUNCATE, status.st_ino, size, path, "", "", 0);
    }
    END(done)
direct:
    return syscall(SYS_truncate, name, size);
}

int truncate(const char *name, off_t size) { return truncated_by_name(name, size); }
int truncate64(const char *name, off64_t size) { return truncated_by_name(name, size); }

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    char other[PATH_MAX];
    BEGIN(path_of(to_folder, to, path) && path_of(from_folder, from, other))
    int done = -1;
    if (fails(path, 0) <= 0) {
        done = syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
        if (!done) append(RENAME, 0, 0, other, path, "", 0);
    }
    END(done)
direct:
    return syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renameat2(a, from, b, to, 0); }

int unlinkat(int folder, const char *name, int flags) {
    BEGIN(path_of(folder, name, path))
    int done = -1;
    struct stat status;
    /* Deleting what is not there changes nothing. */
    int is_there = !fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW);
    if (!is_there || fails(path, 0) <= 0) {
        done = syscall(SYS_unlinkat, folder, name, flags);
        if (!done) append(UNLINK, 0, 0, path, "", "", 0);
    }
    END(done)
direct:
    return syscall(SYS_unlinkat, folder, name, flags);
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int folder, const char *name, mode_t mode) {
    BEGIN(path_of(folder, name, path))
    int done = -1;
    struct stat status;
    int is_there = !fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW);
    if (is_there || fails(path, 0) <= 0) {
        done = syscall(SYS_mkdirat, folder, name, mode);
        if (!done) append(MKDIR, 0, 0, path, "", "", 0);
    }
    END(done)
direct:
    return syscall(SYS_mkdirat, folder, name, mode);
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int fchmodat(int folder, const char *name, mode_t mode, int flags) {
    BEGIN(path_of(folder, name, path))
    int done = fails(path, 0) <= 0 ? REAL(fchmodat)(folder, name, mode, flags) : -1;
    END(done)
direct:
    return REAL(fchmodat)(folder, name, mode, flags);
}

int chmod(const char *name, mode_t mode) { return fchmodat(AT_FDCWD, name, mode, 0); }
