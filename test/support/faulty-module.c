/*
 * A PKCS#11 module that passes everything on to a real one and misbehaves on demand.
 *
 * FAULTY_REAL     path of the real module
 * FAULTY_CONTROL  file with one fault per line, read at every call: FUNCTION WHAT [NUMBER]
 *                 FUNCTION: load, or C_… as listed below
 *                 WHAT: sleep N (milliseconds, then goes on), crash, hang, return N (a CKR, without calling the real
 *                 module), after N (calls it, then returns N), corrupt (changes a byte of the signature), length N
 *                 (says that the signature, or the list of slots or objects, has N entries)
 * FAULTY_LOG      file that gets a line with name and process ID for every call of C_Login and C_Sign
 *
 * The function list is v2.40's (OASIS PKCS#11 base specification, CK_FUNCTION_LIST): a version and 68 pointers in a fixed
 * order. All arguments are machine words, so that one wrapper fits every function.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*function)(word, word, word, word, word, word, word, word);
struct function_list {
  unsigned char major, minor;
  function f[68];
};

static struct function_list list;
static const struct function_list *real;

struct fault {
  char what[16];
  word number;
};

static int find_fault(const char *name, struct fault *fault) {
  const char *path = getenv("FAULTY_CONTROL");
  FILE *file = path == NULL ? NULL : fopen(path, "r");
  char line[128], function[64];
  int found = 0;
  if (file == NULL) return 0;
  while (!found && fgets(line, sizeof line, file) != NULL) {
    long number = 0;
    if (sscanf(line, "%63s %15s %li", function, fault->what, &number) < 2) continue;
    fault->number = (word)number;
    found = strcmp(function, name) == 0;
  }
  fclose(file);
  return found;
}

/* What happens before the real call. Returns whether *result is the answer already. */
static int misbehave(const struct fault *fault, word *result) {
  if (strcmp(fault->what, "sleep") == 0) usleep(fault->number * 1000);
  if (strcmp(fault->what, "crash") == 0) abort();
  while (strcmp(fault->what, "hang") == 0) pause();
  if (strcmp(fault->what, "return") != 0) return 0;
  *result = fault->number;
  return 1;
}

static void write_log(const char *name) {
  const char *path = getenv("FAULTY_LOG");
  FILE *file = path == NULL ? NULL : fopen(path, "a");
  if (file == NULL) return;
  fprintf(file, "%s %d\n", name, (int)getpid());
  fclose(file);
}

static word call(int index, const char *name, word length_argument, const word *a) {
  struct fault fault = {"", 0};
  word result = 0;
  int is_faulty = find_fault(name, &fault);
  if (index == 18 || index == 43) write_log(name);
  if (is_faulty && misbehave(&fault, &result)) return result;
  result = real->f[index](a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
  if (!is_faulty || result != 0) return result;
  if (strcmp(fault.what, "after") == 0) return fault.number;
  if (strcmp(fault.what, "corrupt") == 0 && a[length_argument - 1] != 0) *(char *)a[length_argument - 1] ^= 1;
  if (strcmp(fault.what, "length") == 0) *(word *)a[length_argument] = fault.number;
  return result;
}

#define WRAP(index, name, length_argument)                                                       \
  static word name(word a, word b, word c, word d, word e, word f, word g, word h) {             \
    const word arguments[8] = {a, b, c, d, e, f, g, h};                                          \
    return call(index, #name, length_argument, arguments);                                       \
  }
/* index in the list, name, which argument points to the length of the answer (the one before it points to the answer) */
WRAP(0, C_Initialize, 0)
WRAP(4, C_GetSlotList, 2)
WRAP(6, C_GetTokenInfo, 0)
WRAP(12, C_OpenSession, 0)
WRAP(24, C_GetAttributeValue, 0)
WRAP(26, C_FindObjectsInit, 0)
WRAP(27, C_FindObjects, 3)
WRAP(42, C_SignInit, 0)
WRAP(18, C_Login, 0)
WRAP(43, C_Sign, 4)
WRAP(59, C_GenerateKeyPair, 0)

__attribute__((constructor)) static void at_load(void) {
  struct fault fault;
  word ignored;
  if (find_fault("load", &fault)) misbehave(&fault, &ignored);
}

word C_GetFunctionList(const struct function_list **out) {
  void *library = dlopen(getenv("FAULTY_REAL"), RTLD_NOW | RTLD_LOCAL);
  word (*get)(const struct function_list **) = library == NULL ? NULL : dlsym(library, "C_GetFunctionList");
  if (get == NULL || get(&real) != 0) return 5; /* CKR_GENERAL_ERROR */
  list = *real;
  list.f[0] = C_Initialize;
  list.f[4] = C_GetSlotList;
  list.f[6] = C_GetTokenInfo;
  list.f[12] = C_OpenSession;
  list.f[18] = C_Login;
  list.f[24] = C_GetAttributeValue;
  list.f[26] = C_FindObjectsInit;
  list.f[27] = C_FindObjects;
  list.f[42] = C_SignInit;
  list.f[43] = C_Sign;
  list.f[59] = C_GenerateKeyPair;
  *out = &list;
  return 0;
}
