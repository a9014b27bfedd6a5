# SPDX-License-Identifier: GPL-2.0-or-later
#
# An image that savevm can write to and loadvm read from.

from tap import until

NODE = 'snapshots'


def disk_option(path):
    """For -blockdev of another QEMU."""
    return (f'driver=qcow2,node-name={NODE},file.driver=file,'
            f'file.filename={path}')


def add_disk(vm):
    """A qcow2 image that can hold snapshots, made by QEMU itself."""
    path = vm.file('snapshots.qcow2')
    open(path, 'wb').close()
    vm.qmp.command('blockdev-add', driver='file', node_name='file',
                   filename=path)
    vm.qmp.command('blockdev-create', job_id='create',
                   options={'driver': 'qcow2', 'file': 'file',
                            'size': 1 << 30})
    until(lambda: concluded(vm), 'blockdev-create')
    vm.qmp.command('job-dismiss', id='create')
    vm.qmp.command('blockdev-add', driver='qcow2', node_name=NODE,
                   file='file')
    return path


def concluded(vm):
    jobs = {job['id']: job for job in vm.qmp.command('query-jobs')}
    if 'error' in jobs['create']:
        raise AssertionError(jobs['create']['error'])
    return jobs['create']['status'] == 'concluded'
