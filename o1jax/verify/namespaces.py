"""A sandbox made of Linux's namespaces alone: `main` closes a room around a new process, which runs
`inside` there.

It needs Linux 5.12 or later, and the right to make user namespaces. Root has that right, and on
most systems every user. The room has the programs and libraries that it is told of, read-only, and
an empty folder of limited size. It has no network, and no processes except those that begin in it.
"""

import json
import os
import signal
import stat
import struct
import sys

from o1jax.verify import inside
from o1jax.verify.inside import call

# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
_CLONE_NEW = 0x7E020000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = (
  2,
  4,
  8,
  1 << 12,
  1 << 14,
  1 << 18,
)
_MNT_DETACH = 2
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_* of linux/mount.h
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_PR_SET_PDEATHSIG = 1
_INODES = 4096  # most files in /tmp
_ROOM = '/tmp'  # any folder that always exists: what it holds stays outside


def main() -> None:
  """Closes the room and waits until everything in it has ended. Like `inside.main` it also returns
  in processes that have run a program.

  Its argument is a JSON object with

      parent     the process that it ends with
      identity   see `verify.inside`
      visible    paths that are seen in the room
      links      {path: target} of symbolic links in it
      disk       bytes of its folder
      info       the open file that takes {"child-pid": the first process of the room}, as from
                 bubblewrap
  """
  told = json.loads(sys.argv[1])
  os.umask(0o022)
  _unshare(told['identity'])
  call('prctl', _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
  if os.getppid() != told['parent']:
    sys.exit('nobody waits for this sandbox any more')
  _furnish(told['visible'], told['links'], told['disk'])
  call('sethostname', b'sandbox', 7)
  leader, leading = os.pipe()
  child = os.fork()
  if not child:
    os.setsid()  # a signal to one's group reaches the whole group, in whatever namespace
    os.close(leading)
    os.close(told['info'])
    return inside.main(leader)
  with os.fdopen(told['info'], 'w') as info:
    json.dump({'child-pid': child}, info)
  os.waitpid(child, 0)


def _unshare(identity):
  """Leaves the namespaces of the host. Only a process outside may map users other than its own, so
  a child does it."""
  told, tell = os.pipe()
  child = os.fork()
  if not child:
    os.close(tell)
    if os.read(told, 1):
      _map_ids(os.getppid(), identity)
    os._exit(0)
  os.close(told)
  call('unshare', _CLONE_NEW)
  os.write(tell, b'.')
  os.close(tell)
  if os.waitpid(child, 0)[1]:
    sys.exit('users cannot be mapped into a namespace')


def _map_ids(pid, identity):
  """Maps the users of the room. Where root makes it: root, until everything is in place, and
  `identity`. Else us, as `identity`."""
  root = os.geteuid() == 0
  if not root:
    _write(f'/proc/{pid}/setgroups', 'deny')
  for name, own in (('uid', os.geteuid()), ('gid', os.getegid())):
    _write(
      f'/proc/{pid}/{name}_map',
      f'0 {own} 1\n{identity} {identity} 1\n' if root else f'{identity} {own} 1\n',
    )


def _write(path, text):
  with open(path, 'w') as file:
    file.write(text)


def _furnish(visible, links, disk):
  """Makes a root of `visible`, and an empty /tmp that takes `disk` bytes, and goes there."""
  call('mount', None, b'/', None, _MS_REC | _MS_PRIVATE, None)
  # Opened now, because the room may be mounted over one of them.
  sources = [os.open(path, os.O_PATH) for path in visible]
  _mount_tmpfs(_ROOM, 'size=1m,mode=755')
  for path, source in zip(visible, sources):
    place, kind = _ROOM + path, os.fstat(source).st_mode
    os.makedirs(place if stat.S_ISDIR(kind) else os.path.dirname(place), exist_ok=True)
    if not stat.S_ISDIR(kind):
      os.close(os.open(place, os.O_CREAT, 0o444))
    call(
      'mount', f'/proc/self/fd/{source}'.encode(), place.encode(), None, _MS_BIND | _MS_REC, None
    )
    _restrict(place, _RDONLY | _NOSUID | (_NOEXEC if stat.S_ISCHR(kind) else _NODEV), _AT_RECURSIVE)
    os.close(source)
  for path, target in links.items():
    os.symlink(target, _ROOM + path)
  os.mkdir(f'{_ROOM}/tmp')
  _mount_tmpfs(f'{_ROOM}/tmp', f'size={disk},nr_inodes={_INODES},mode=777')
  _restrict(_ROOM, _RDONLY, 0)
  os.chdir(_ROOM)
  call('pivot_root', b'.', b'.')  # the old root comes to lie upon the new one
  call('umount2', b'.', _MNT_DETACH)
  os.chdir('/tmp')


def _mount_tmpfs(path, options):
  call(
    'mount',
    b'tmpfs',
    path.encode(),
    b'tmpfs',
    _MS_NOSUID | _MS_NODEV | _MS_NOEXEC,
    options.encode(),
  )


def _restrict(path, attributes, flags):
  """mount_setattr(2), for all mounts below as well. It adds to what a mount's owner has restricted
  before."""
  call(
    'syscall',
    _MOUNT_SETATTR,
    _AT_FDCWD,
    path.encode(),
    flags,
    struct.pack('=4Q', attributes, 0, 0, 0),
    32,
  )


if __name__ == '__main__':
  main()
