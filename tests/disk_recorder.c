/* Records what a process does to files below some folders: preload it, see disk_recording.py.
 *
 * Each call is numbered before and after it was made, by a counter that all processes share, and
 * becomes one record in a common log, with the bytes that were written. What does not go through
 * these functions is not seen; the test compares what was recorded with what lies there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, TRUNCATE, WRITE, SYNC, SYNC_FOLDER, RENAME, UNLINK, MKDIR, RMDIR, LINK };

struct record {
    uint32_t kind;
    uint32_t process;
    uint64_t begun, ended, nanoseconds, inode, offset, length;
    uint32_t path_length, target_length;
};

static uint64_t *counter;
static int log_file = -1;
static const char *roots;

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void start(void)
{
    char path[PATH_MAX];
    const char *folder = getenv("DISK_RECORDING");
    roots = getenv("DISK_RECORDED");
    if (!folder || !roots)
        return;
    snprintf(path, sizeof path, "%s/counter", folder);
    int file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    snprintf(path, sizeof path, "%s/log", folder);
    file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0);
    log_file = fcntl(file, F_DUPFD_CLOEXEC, 900);
    close(file);
    if (counter == MAP_FAILED || log_file < 0)
        abort();
}

static uint64_t tick(void) { return log_file < 0 ? 0 : __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); }

static int is_ours(const char *path)
{
    for (const char *root = roots; root && *root;) {
        size_t length = strcspn(root, ":");
        if (!strncmp(path, root, length) && (path[length] == '/' || path[length] == '\0'))
            return 1;
        root += length + (root[length] == ':');
    }
    return 0;
}

/* The absolute path of a name, into a buffer of PATH_MAX; whether it lies below our folders. */
static int absolute(char *into, int folder, const char *path)
{
    char base[PATH_MAX] = "", link[64];
    if (log_file < 0 || !path)
        return 0;
    if (path[0] != '/') {
        if (folder == AT_FDCWD)
            strcpy(link, "/proc/self/cwd");
        else
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 2);
        if (length < 0)
            return 0;
        base[length] = '/';
        base[length + 1] = '\0';
    }
    if (strlen(base) + strlen(path) >= PATH_MAX)
        return 0;
    strcpy(into, base);
    strcat(into, path);
    size_t end = strlen(into);
    while (end > 1 && into[end - 1] == '/')
        into[--end] = '\0';
    return is_ours(into);
}

/* Whether the open file is one of ours; says what it is. */
static int known(int file, struct stat *found)
{
    char link[64], path[PATH_MAX];
    int before = errno, ours = 0;
    if (log_file >= 0 && file != log_file && fstat(file, found) == 0 &&
        (S_ISREG(found->st_mode) || S_ISDIR(found->st_mode))) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, path, sizeof path - 1);
        if (length > 0) {
            path[length] = '\0';
            ours = is_ours(path);
        }
    }
    errno = before;
    return ours;
}

static void note(struct record record, const char *path, const char *target, const void *data)
{
    struct timespec now;
    int before = errno;
    clock_gettime(CLOCK_REALTIME, &now);
    record.process = getpid();
    record.ended = tick();
    record.nanoseconds = now.tv_sec * 1000000000ull + now.tv_nsec;
    record.path_length = path ? strlen(path) : 0;
    record.target_length = target ? strlen(target) : 0;
    if (!data)
        record.length = record.kind == WRITE ? 0 : record.length;
    struct iovec parts[] = {
        {&record, sizeof record},
        {(void *)path, record.path_length},
        {(void *)target, record.target_length},
        {(void *)data, data ? record.length : 0},
    };
    syscall(SYS_writev, log_file, parts, 4);
    errno = before;
}

static int opened(int (*open_file)(int, const char *, int, mode_t), int folder, const char *path,
                  int flags, mode_t mode)
{
    char place[PATH_MAX];
    struct stat found;
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE || !absolute(place, folder, path))
        return open_file(folder, path, flags, mode);
    int was_there = stat(place, &found) == 0;
    uint64_t begun = tick();
    int file = open_file(folder, path, flags, mode);
    if (file >= 0 && fstat(file, &found) == 0 && S_ISREG(found.st_mode)) {
        if (!was_there)
            note((struct record){.kind = CREATE, .begun = begun, .inode = found.st_ino}, place, NULL, NULL);
        else if (flags & O_TRUNC)
            note((struct record){.kind = TRUNCATE, .begun = begun, .inode = found.st_ino}, NULL, NULL, NULL);
    }
    return file;
}

static int plain_open(int folder, const char *path, int flags, mode_t mode)
{
    return syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(plain_open, AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(plain_open, AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opened(plain_open, folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opened(plain_open, folder, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(plain_open, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

ssize_t write(int file, const void *data, size_t length)
{
    struct stat found;
    int ours = known(file, &found);
    uint64_t begun = ours ? tick() : 0;
    ssize_t done = syscall(SYS_write, file, data, length);
    if (ours && done > 0) {
        off_t end = lseek(file, 0, SEEK_CUR);
        note((struct record){.kind = WRITE, .begun = begun, .inode = found.st_ino,
                             .offset = end - done, .length = done}, NULL, NULL, data);
    }
    return done;
}

ssize_t pwrite64(int file, const void *data, size_t length, off64_t offset)
{
    struct stat found;
    int ours = known(file, &found);
    uint64_t begun = ours ? tick() : 0;
    ssize_t done = syscall(SYS_pwrite64, file, data, length, offset);
    if (ours && done > 0)
        note((struct record){.kind = WRITE, .begun = begun, .inode = found.st_ino,
                             .offset = offset, .length = done}, NULL, NULL, data);
    return done;
}

ssize_t pwrite(int file, const void *data, size_t length, off_t offset) { return pwrite64(file, data, length, offset); }

/* What was written without passing our hands is read back. */
static void note_range(int file, struct stat *found, uint64_t begun, off_t offset, size_t length)
{
    char link[64], *data = malloc(length);
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    int again = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    ssize_t got = pread(again, data, length, offset);
    if (got != (ssize_t)length)
        abort();
    note((struct record){.kind = WRITE, .begun = begun, .inode = found->st_ino,
                         .offset = offset, .length = length}, NULL, NULL, data);
    close(again);
    free(data);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    struct stat found;
    int ours = known(file, &found);
    uint64_t begun = ours ? tick() : 0;
    ssize_t done = syscall(SYS_writev, file, parts, count);
    if (ours && done > 0)
        note_range(file, &found, begun, lseek(file, 0, SEEK_CUR) - done, done);
    return done;
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset)
{
    struct stat found;
    int ours = known(file, &found);
    uint64_t begun = ours ? tick() : 0;
    ssize_t done = NEXT(pwritev)(file, parts, count, offset);
    if (ours && done > 0)
        note_range(file, &found, begun, offset, done);
    return done;
}

ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) { return pwritev(file, parts, count, offset); }

ssize_t sendfile(int to, int from, off_t *offset, size_t length)
{
    struct stat found;
    int ours = known(to, &found);
    uint64_t begun = ours ? tick() : 0;
    ssize_t done = syscall(SYS_sendfile, to, from, offset, length);
    if (ours && done > 0)
        note_range(to, &found, begun, lseek(to, 0, SEEK_CUR) - done, done);
    return done;
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) { return sendfile(to, from, offset, length); }

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length,
                        unsigned int flags)
{
    struct stat found;
    int ours = known(to, &found);
    uint64_t begun = ours ? tick() : 0;
    off_t start = to_offset ? *to_offset : 0;
    ssize_t done = syscall(SYS_copy_file_range, from, from_offset, to, to_offset, length, flags);
    if (ours && done > 0)
        note_range(to, &found, begun, to_offset ? start : lseek(to, 0, SEEK_CUR) - done, done);
    return done;
}

int ftruncate64(int file, off64_t length)
{
    struct stat found;
    int ours = known(file, &found);
    uint64_t begun = ours ? tick() : 0;
    int answer = syscall(SYS_ftruncate, file, length);
    if (ours && answer == 0)
        note((struct record){.kind = TRUNCATE, .begun = begun, .inode = found.st_ino, .offset = length}, NULL, NULL, NULL);
    return answer;
}

int ftruncate(int file, off_t length) { return ftruncate64(file, length); }

static int synced(int call, int file)
{
    struct stat found;
    int ours = known(file, &found);
    uint64_t begun = ours ? tick() : 0;
    char link[64], path[PATH_MAX];
    int answer = syscall(call, file);
    if (ours && answer == 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, path, sizeof path - 1);
        path[length > 0 ? length : 0] = '\0';
        note((struct record){.kind = S_ISDIR(found.st_mode) ? SYNC_FOLDER : SYNC, .begun = begun,
                             .inode = found.st_ino}, path, NULL, NULL);
    }
    return answer;
}

int fsync(int file) { return synced(SYS_fsync, file); }
int fdatasync(int file) { return synced(SYS_fdatasync, file); }

static int renamed(int folder, const char *path, int target_folder, const char *target, unsigned int flags)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct stat found = {0};
    int ours = absolute(from, folder, path) & absolute(to, target_folder, target);
    if (ours)
        lstat(from, &found);
    uint64_t begun = ours ? tick() : 0;
    int answer = syscall(SYS_renameat2, folder, path, target_folder, target, flags);
    if (ours && answer == 0)
        note((struct record){.kind = RENAME, .begun = begun, .inode = found.st_ino}, from, to, NULL);
    return answer;
}

int rename(const char *path, const char *target) { return renamed(AT_FDCWD, path, AT_FDCWD, target, 0); }
int renameat(int folder, const char *path, int other, const char *target) { return renamed(folder, path, other, target, 0); }
int renameat2(int folder, const char *path, int other, const char *target, unsigned int flags) { return renamed(folder, path, other, target, flags); }

static int by_name(enum kind kind, int folder, const char *path, int call, int argument)
{
    char place[PATH_MAX];
    struct stat found = {0};
    int ours = absolute(place, folder, path);
    if (ours)
        lstat(place, &found);
    uint64_t begun = ours ? tick() : 0;
    int answer = syscall(call, folder, path, argument);
    if (ours && answer == 0)
        note((struct record){.kind = kind, .begun = begun, .inode = found.st_ino}, place, NULL, NULL);
    return answer;
}

int unlinkat(int folder, const char *path, int flags) { return by_name(flags & AT_REMOVEDIR ? RMDIR : UNLINK, folder, path, SYS_unlinkat, flags); }
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdirat(int folder, const char *path, mode_t mode) { return by_name(MKDIR, folder, path, SYS_mkdirat, mode); }
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int remove(const char *path)
{
    struct stat found;
    if (lstat(path, &found) == 0 && S_ISDIR(found.st_mode))
        return rmdir(path);
    return unlink(path);
}

int linkat(int folder, const char *path, int other, const char *target, int flags)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct stat found = {0};
    int ours = absolute(from, folder, path) & absolute(to, other, target);
    if (ours)
        stat(from, &found);
    uint64_t begun = ours ? tick() : 0;
    int answer = syscall(SYS_linkat, folder, path, other, target, flags);
    if (ours && answer == 0)
        note((struct record){.kind = LINK, .begun = begun, .inode = found.st_ino}, from, to, NULL);
    return answer;
}

int link(const char *path, const char *target) { return linkat(AT_FDCWD, path, AT_FDCWD, target, 0); }
