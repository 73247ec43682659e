/*
 * A PKCS#11 module that passes every call to another one, and writes down each C_Login. For tests that count PIN tries,
 * which SoftHSM does not, and for modules that end the process, or hang, at a chosen call.
 *
 * SHIM_MODULE: the real module. SHIM_LOG: a line for each C_Login. SHIM_CRASH: a file with the call
 * to die in, or "load"; with " hang" after it, to hang in.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV;

/* CK_FUNCTION_LIST of v2.40: a version, then pointers in the order of the standard. */
#define FUNCTIONS 68
#define C_INITIALIZE 0
#define C_LOGIN 18
#define C_SIGN 43
#define CKR_GENERAL_ERROR 5UL
struct function_list {
  unsigned char version[2];
  void *functions[FUNCTIONS];
};

static struct function_list ours;
static struct function_list *real;

static void die_if_asked(const char *call) {
  char asked[32] = "";
  const char *path = getenv("SHIM_CRASH");
  FILE *file = path ? fopen(path, "r") : NULL;
  if (!file) return;
  if (fgets(asked, sizeof asked, file) && strncmp(asked, call, strlen(call)) == 0) {
    if (!strstr(asked, " hang")) abort();
    for (;;) pause();
  }
  fclose(file);
}

__attribute__((constructor)) static void loaded(void) { die_if_asked("load"); }

static CK_RV shim_initialize(void *arguments) {
  die_if_asked("C_Initialize");
  return ((CK_RV(*)(void *))real->functions[C_INITIALIZE])(arguments);
}

static CK_RV shim_login(CK_ULONG session, CK_ULONG user, unsigned char *pin, CK_ULONG length) {
  const char *path = getenv("SHIM_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (file) {
    fprintf(file, "C_Login %lu\n", user);
    fclose(file);
  }
  die_if_asked("C_Login");
  return ((CK_RV(*)(CK_ULONG, CK_ULONG, unsigned char *, CK_ULONG))real->functions[C_LOGIN])(session, user, pin, length);
}

static CK_RV shim_sign(CK_ULONG session, unsigned char *data, CK_ULONG length, unsigned char *signature, CK_ULONG *room) {
  die_if_asked("C_Sign");
  return ((CK_RV(*)(CK_ULONG, unsigned char *, CK_ULONG, unsigned char *, CK_ULONG *))real->functions[C_SIGN])(
      session, data, length, signature, room);
}

CK_RV C_GetFunctionList(struct function_list **list) {
  const char *path = getenv("SHIM_MODULE");
  void *module = path ? dlopen(path, RTLD_NOW) : NULL;
  CK_RV (*get)(struct function_list **) = module ? (CK_RV(*)(struct function_list **))dlsym(module, "C_GetFunctionList") : NULL;
  if (!get || get(&real) != 0) return CKR_GENERAL_ERROR;
  ours = *real;
  ours.functions[C_INITIALIZE] = (void *)shim_initialize;
  ours.functions[C_LOGIN] = (void *)shim_login;
  ours.functions[C_SIGN] = (void *)shim_sign;
  *list = &ours;
  return 0;
}
