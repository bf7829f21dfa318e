/*
 * A disk that fails on demand, laid over a process with LD_PRELOAD: fsync that returns EIO, a full disk, one turned read-only.
 *
 * Strikes only files below FAULT_ROOT, only while FAULT_CONTROL holds a file named after the fault, and writes one byte to
 * FAULT_CONTROL/struck each time. Everything else goes straight to the kernel.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int on(const char *fault)
{
	char path[PATH_MAX];
	const char *control = getenv("FAULT_CONTROL");
	if (!control)
		return 0;
	snprintf(path, sizeof path, "%s/%s", control, fault);
	return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

static long strike(int error)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/struck", getenv("FAULT_CONTROL"));
	long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || syscall(SYS_write, fd, "x", 1) != 1)
		abort();
	syscall(SYS_close, fd);
	errno = error;
	return -1;
}

static int below_root(const char *path)
{
	const char *root = getenv("FAULT_ROOT");
	return root && strncmp(path, root, strlen(root)) == 0;
}

static int ours(int fd)
{
	char link[64], path[PATH_MAX];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
	if (length < 0)
		return 0;
	path[length] = 0;
	return below_root(path);
}

/* What no write to this file can pass, or 0. */
static int no_write(int fd)
{
	if (on("full") && ours(fd))
		return ENOSPC;
	if (on("readonly") && ours(fd))
		return EROFS;
	return 0;
}

int fsync(int fd)
{
	if (on("fsync") && ours(fd))
		return strike(EIO);
	return syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	if (on("fsync") && ours(fd))
		return strike(EIO);
	return syscall(SYS_fdatasync, fd);
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	int error = no_write(fd);
	return error ? strike(error) : syscall(SYS_write, fd, bytes, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
	int error = no_write(fd);
	return error ? strike(error) : syscall(SYS_pwrite64, fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
	return pwrite64(fd, bytes, count, at);
}

int ftruncate64(int fd, off64_t length)
{
	int error = no_write(fd);
	return error == EROFS ? strike(error) : syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length)
{
	return ftruncate64(fd, length);
}

static int open_at(int dir, const char *path, int flags, mode_t mode)
{
	if ((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && below_root(path) && on("readonly"))
		return strike(EROFS);
	return syscall(SYS_openat, dir, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
		va_list rest;
		va_start(rest, flags);
		mode = va_arg(rest, mode_t);
		va_end(rest);
	}
	return open_at(AT_FDCWD, path, flags, mode);
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

int mkdir(const char *path, mode_t mode)
{
	struct stat found;
	if (below_root(path) && on("readonly") && stat(path, &found) != 0)
		return strike(EROFS);
	return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int unlink(const char *path)
{
	if (below_root(path) && on("readonly"))
		return strike(EROFS);
	return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
