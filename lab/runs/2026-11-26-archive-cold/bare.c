#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/stat.h>
#include <sys/resource.h>
#include <time.h>
static int T, D=1000; static int next_dir; static long bytes;
static void *work(void*a){ (void)a; for(;;){ int d=__atomic_fetch_add(&next_dir,1,__ATOMIC_RELAXED); if(d>=D) return 0; char p[64]; sprintf(p,"many/%04d",d);
 DIR*dir=opendir(p); struct dirent*e; int fd=dirfd(dir); while((e=readdir(dir))){ if(e->d_name[0]=='.')continue; struct statx s; statx(fd,e->d_name,AT_SYMLINK_NOFOLLOW|AT_STATX_DONT_SYNC,STATX_SIZE|STATX_MTIME|STATX_MODE,&s); __atomic_fetch_add(&bytes,s.stx_size,__ATOMIC_RELAXED);} closedir(dir);} }
int main(int c,char**v){ T=atoi(v[1]); pthread_t t[16]; struct timespec a,b; clock_gettime(CLOCK_MONOTONIC,&a); for(int i=0;i<T;i++)pthread_create(t+i,0,work,0); for(int i=0;i<T;i++)pthread_join(t[i],0); clock_gettime(CLOCK_MONOTONIC,&b); struct rusage r; getrusage(RUSAGE_SELF,&r); printf("%d threads: wall %.3f user %.3f sys %.3f bytes %ld\n",T,(b.tv_sec-a.tv_sec)+(b.tv_nsec-a.tv_nsec)/1e9,r.ru_utime.tv_sec+r.ru_utime.tv_usec/1e6,r.ru_stime.tv_sec+r.ru_stime.tv_usec/1e6,bytes);}
